# %% ex-extragradient: the field where the players stand
def extragradient(field, step):
    return field


# %% ex-extragradient: the two fields are averaged
def extragradient(field, step):
    def direction(players):
        first = field(players)
        second = field(moved(players, first, step))
        return jax.tree.map(lambda a, b: (a + b) / 2, first, second)

    return direction


# %% ex-extragradient: the real step starts at the place that was tried
def extragradient(field, step):
    def direction(players):
        first = field(players)
        return moved(first, field(moved(players, first, step)), 1.0)

    return direction


# %% ex-extragradient: only the first player tries
def extragradient(field, step):
    def direction(players):
        tried = moved(players, field(players), step)
        return field({"theta": tried["theta"], "psi": players["psi"]})

    return direction


# %% ex-extragradient: the new places are returned
def extragradient(field, step):
    def direction(players):
        return moved(players, field(moved(players, field(players), step)), step)

    return direction


# %% ex-extragradient: the step is multiplied in
def extragradient(field, step):
    def direction(players):
        return jax.tree.map(lambda v: step * v, field(moved(players, field(players), step)))

    return direction


# %% ex-extragradient: the trial step goes backwards
def extragradient(field, step):
    return lambda players: field(moved(players, field(players), -step))


# %% ex-extragradient: players are taken for plain arrays
def extragradient(field, step):
    def direction(players):
        first = field(players)
        return field({name: np.asarray(players[name]) + step * np.asarray(first[name]) for name in players})

    return direction


# %% ex-radius: the largest singular value
def spectral_radius(update, at):
    return np.linalg.norm(np.asarray(jax.jacobian(update)(jnp.asarray(at, jnp.float32))), 2)


# %% ex-radius: the largest real part
def spectral_radius(update, at):
    return np.linalg.eigvals(np.asarray(jax.jacobian(update)(jnp.asarray(at, jnp.float32)))).real.max()


# %% ex-radius: the Jacobian at zero
def spectral_radius(update, at):
    matrix = jax.jacobian(update)(jnp.zeros(len(at)))
    return np.abs(np.linalg.eigvals(np.asarray(matrix))).max()


# %% ex-radius: the determinant
def spectral_radius(update, at):
    return np.abs(np.linalg.det(np.asarray(jax.jacobian(update)(jnp.asarray(at, jnp.float32)))))


# %% ex-radius: the identity is added
def spectral_radius(update, at):
    matrix = np.asarray(jax.jacobian(update)(jnp.asarray(at, jnp.float32)))
    return np.abs(np.linalg.eigvals(np.eye(len(matrix)) + matrix)).max()


# %% ex-radius: the eigenvalues of a symmetric matrix
def spectral_radius(update, at):
    return np.abs(np.linalg.eigvalsh(np.asarray(jax.jacobian(update)(jnp.asarray(at, jnp.float32))))).max()


# %% ex-radius: the largest eigenvalue, not the largest size
def spectral_radius(update, at):
    values = np.linalg.eigvals(np.asarray(jax.jacobian(update)(jnp.asarray(at, jnp.float32))))
    return np.abs(values[values.real.argmax()])


# %% ex-reader: only the ends of the path
def name_methods(paths):
    lengths = np.linalg.norm(np.asarray(paths, float), axis=-1)
    grown = lengths[:, -1] / lengths[:, 0]
    return np.where(grown > 1.3, 0, np.where(grown > 0.7, 1, 2))


# %% ex-reader: only the determinant
def name_methods(paths):
    areas = []
    for path in np.asarray(paths, float):
        areas.append(np.linalg.det(np.linalg.lstsq(path[:-1], path[1:], rcond=None)[0]))
    return np.select([np.abs(np.array(areas) - 1) < 5e-3, np.array(areas) > 1], [1, 0], 2)


# %% ex-reader: extragradient and optimistic are exchanged
def name_methods(paths):
    names = []
    for path in np.asarray(paths, float):
        matrix, *_ = np.linalg.lstsq(path[:-1], path[1:], rcond=None)
        miss = np.abs(path[:-1] @ matrix - path[1:]).max() / np.abs(path).max()
        area = np.linalg.det(matrix)
        names.append(2 if miss > 1e-3 else 1 if abs(area - 1) < 5e-3 else 0 if area > 1 else 3)
    return np.array(names)


# %% ex-reader: the first step decides
def name_methods(paths):
    lengths = np.linalg.norm(np.asarray(paths, float), axis=-1)
    return np.where(lengths[:, 1] > lengths[:, 0], 0, 2)


# %% ex-reader: a miss that is not relative
def name_methods(paths):
    names = []
    for path in np.asarray(paths, float):
        matrix, *_ = np.linalg.lstsq(path[:-1], path[1:], rcond=None)
        area = np.linalg.det(matrix)
        miss = np.abs(path[:-1] @ matrix - path[1:]).max()
        names.append(3 if miss > 10 else 1 if abs(area - 1) < 5e-3 else 0 if area > 1 else 2)
    return np.array(names)
