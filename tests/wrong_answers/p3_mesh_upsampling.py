# %% ex-mean: sums in place of means
def neighbour_mean(faces, num_vertices):
    adjacent = np.zeros((num_vertices, num_vertices))
    for a, b, c in np.asarray(faces):
        adjacent[[a, b, b, c, c, a], [b, a, c, b, a, c]] = 1
    return adjacent


# %% ex-mean: an edge inside of the mesh counts twice
def neighbour_mean(faces, num_vertices):
    adjacent = np.zeros((num_vertices, num_vertices))
    for a, b, c in np.asarray(faces):
        adjacent[[a, b, b, c, c, a], [b, a, c, b, a, c]] += 1
    return adjacent / adjacent.sum(1, keepdims=True)


# %% ex-mean: the vertex itself is averaged too
def neighbour_mean(faces, num_vertices):
    adjacent = np.eye(num_vertices)
    for a, b, c in np.asarray(faces):
        adjacent[[a, b, b, c, c, a], [b, a, c, b, a, c]] = 1
    return adjacent / adjacent.sum(1, keepdims=True)


# %% ex-mean: each edge goes one way
def neighbour_mean(faces, num_vertices):
    adjacent = np.zeros((num_vertices, num_vertices))
    for a, b, c in np.asarray(faces):
        adjacent[[a, b, c], [b, c, a]] = 1
    return adjacent / np.maximum(adjacent.sum(1, keepdims=True), 1)


# %% ex-mean: divided by the square roots of both degrees
def neighbour_mean(faces, num_vertices):
    adjacent = np.zeros((num_vertices, num_vertices))
    for a, b, c in np.asarray(faces):
        adjacent[[a, b, b, c, c, a], [b, a, c, b, a, c]] = 1
    degrees = adjacent.sum(1)
    return adjacent / np.sqrt(np.outer(degrees, degrees))


# %% ex-game: nothing is held
def game(theta, phi, x, y, z, generate, discriminate):
    made = generate(theta, x, z)
    on_real = jax.nn.log_sigmoid(discriminate(phi, x, y)).mean()
    on_made = discriminate(phi, x, made)
    return on_real + jax.nn.log_sigmoid(-on_made).mean() + jax.nn.log_sigmoid(on_made).mean()


# %% ex-game: the discriminator helps the generator
def game(theta, phi, x, y, z, generate, discriminate):
    made = generate(theta, x, z)
    on_real = jax.nn.log_sigmoid(discriminate(phi, x, y)).mean()
    on_made = jax.nn.log_sigmoid(-discriminate(phi, x, jax.lax.stop_gradient(made))).mean()
    return on_real + on_made + jax.nn.log_sigmoid(discriminate(phi, x, made)).mean()


# %% ex-game: the wrong arguments are held
def game(theta, phi, x, y, z, generate, discriminate):
    made, held = generate(theta, x, z), jax.lax.stop_gradient
    on_real = jax.nn.log_sigmoid(discriminate(phi, x, y)).mean()
    on_made = jax.nn.log_sigmoid(-discriminate(held(phi), x, made)).mean()
    return on_real + on_made + jax.nn.log_sigmoid(discriminate(phi, x, held(made))).mean()


# %% ex-game: the generator gets no gradient
def game(theta, phi, x, y, z, generate, discriminate):
    made, held = jax.lax.stop_gradient(generate(theta, x, z)), jax.lax.stop_gradient
    on_real = jax.nn.log_sigmoid(discriminate(phi, x, y)).mean()
    on_made = jax.nn.log_sigmoid(-discriminate(phi, x, made)).mean()
    return on_real + on_made + jax.nn.log_sigmoid(discriminate(held(phi), x, made)).mean()


# %% ex-game: right, but infinite for extreme verdicts
def game(theta, phi, x, y, z, generate, discriminate):
    made, held = generate(theta, x, z), jax.lax.stop_gradient
    on_real = jnp.log(jax.nn.sigmoid(discriminate(phi, x, y))).mean()
    on_made = jnp.log(1 - jax.nn.sigmoid(discriminate(phi, x, held(made)))).mean()
    return on_real + on_made + jnp.log(jax.nn.sigmoid(discriminate(held(phi), x, made))).mean()


# %% ex-lie: only the average spread
def verdict(y, samples):
    square = (y - samples.mean(0)) ** 2
    return 1 if samples.var(0).mean() < 0.3 * square.mean() else 0


# %% ex-lie: only the places
def verdict(y, samples):
    square, spread = (y - samples.mean(0)) ** 2, samples.var(0)
    return 0 if np.corrcoef(np.sqrt(spread), np.sqrt(square))[0, 1] > 0.2 else 2


# %% ex-lie: 1 and 2 exchanged
def verdict(y, samples):
    square, spread = (y - samples.mean(0)) ** 2, samples.var(0)
    if spread.mean() < 0.3 * square.mean():
        return 2
    return 0 if np.corrcoef(np.sqrt(spread), np.sqrt(square))[0, 1] > 0.2 else 1


# %% ex-lie: a small error of the mean is taken for honesty
def verdict(y, samples):
    error = np.sqrt(((y - samples.mean(0)) ** 2).mean())
    return 0 if error < 0.06 else 1
