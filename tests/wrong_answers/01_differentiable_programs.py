# %% ex-normal-log-density: the half of the squared error is missing
def normal_log_density(y, mean, log_scale):
    error = (y - mean) / jnp.exp(log_scale)
    return (-(error**2) - log_scale - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)


# %% ex-normal-log-density: log sigma is forgotten
def normal_log_density(y, mean, log_scale):
    error = (y - mean) / jnp.exp(log_scale)
    return (-0.5 * error**2 - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)


# %% ex-normal-log-density: log_scale taken for the logarithm of the variance
def normal_log_density(y, mean, log_scale):
    variance = jnp.exp(log_scale)
    return (-0.5 * (y - mean) ** 2 / variance - 0.5 * jnp.log(2 * jnp.pi * variance)).sum(-1)


# %% ex-normal-log-density: the squared error divided by the scale
def normal_log_density(y, mean, log_scale):
    return (-0.5 * (y - mean) ** 2 / jnp.exp(log_scale) - log_scale - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)


# %% ex-normal-log-density: the mean over dimensions
def normal_log_density(y, mean, log_scale):
    error = (y - mean) / jnp.exp(log_scale)
    return (-0.5 * error**2 - log_scale - 0.5 * jnp.log(2 * jnp.pi)).mean(-1)


# %% ex-normal-log-density: the constant counted once, not once for each dimension
def normal_log_density(y, mean, log_scale):
    error = (y - mean) / jnp.exp(log_scale)
    return (-0.5 * error**2 - log_scale).sum(-1) - 0.5 * jnp.log(2 * jnp.pi)


# %% ex-normal-log-density: the sign of log sigma
def normal_log_density(y, mean, log_scale):
    error = (y - mean) / jnp.exp(log_scale)
    return (-0.5 * error**2 + log_scale - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)


# %% ex-normal-log-density: the sum over the datapoints, too
def normal_log_density(y, mean, log_scale):
    error = (y - mean) / jnp.exp(log_scale)
    return (-0.5 * error**2 - log_scale - 0.5 * jnp.log(2 * jnp.pi)).sum()


# %% ex-full-log-density: the log-volume is missing
def full_log_density(y, mean, factor):
    noise = jnp.linalg.solve(factor, (y - mean)[..., None])[..., 0]
    return (-0.5 * noise**2 - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)


# %% ex-full-log-density: the log-volume twice, as if it were the covariance's
def full_log_density(y, mean, factor):
    noise = jnp.linalg.solve(factor, (y - mean)[..., None])[..., 0]
    log_volume = jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1))
    return (-0.5 * noise**2 - 0.5 * jnp.log(2 * jnp.pi) - 2 * log_volume).sum(-1)


# %% ex-full-log-density: half of the log-volume
def full_log_density(y, mean, factor):
    noise = jnp.linalg.solve(factor, (y - mean)[..., None])[..., 0]
    log_volume = jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1))
    return (-0.5 * noise**2 - 0.5 * jnp.log(2 * jnp.pi) - 0.5 * log_volume).sum(-1)


# %% ex-full-log-density: the sign of the log-volume
def full_log_density(y, mean, factor):
    noise = jnp.linalg.solve(factor, (y - mean)[..., None])[..., 0]
    log_volume = jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1))
    return (-0.5 * noise**2 - 0.5 * jnp.log(2 * jnp.pi) + log_volume).sum(-1)


# %% ex-full-log-density: the half in front of the squares is missing
def full_log_density(y, mean, factor):
    noise = jnp.linalg.solve(factor, (y - mean)[..., None])[..., 0]
    log_volume = jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1))
    return (-(noise**2) - 0.5 * jnp.log(2 * jnp.pi) - log_volume).sum(-1)


# %% ex-full-log-density: the constant counted once
def full_log_density(y, mean, factor):
    noise = jnp.linalg.solve(factor, (y - mean)[..., None])[..., 0]
    log_volume = jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1))
    return (-0.5 * noise**2 - log_volume).sum(-1) - 0.5 * jnp.log(2 * jnp.pi)


# %% ex-full-log-density: the transpose of the factor
def full_log_density(y, mean, factor):
    noise = jnp.linalg.solve(jnp.swapaxes(factor, -1, -2), (y - mean)[..., None])[..., 0]
    log_volume = jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1))
    return (-0.5 * noise**2 - 0.5 * jnp.log(2 * jnp.pi) - log_volume).sum(-1)


# %% ex-full-log-density: the diagonal alone
def full_log_density(y, mean, factor):
    scale = jnp.diagonal(factor, axis1=-2, axis2=-1)
    return (-0.5 * ((y - mean) / scale) ** 2 - 0.5 * jnp.log(2 * jnp.pi) - jnp.log(scale)).sum(-1)


# %% ex-full-log-density: multiplied by the factor
def full_log_density(y, mean, factor):
    noise = (factor @ (y - mean)[..., None])[..., 0]
    log_volume = jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1))
    return (-0.5 * noise**2 - 0.5 * jnp.log(2 * jnp.pi) - log_volume).sum(-1)


# %% ex-local-derivatives: the derivatives of a product exchanged
def local_derivatives(name, *inputs):
    a, b = (*inputs, None)[:2]
    rules = {
        "add": lambda: (1.0, 1.0),
        "mul": lambda: (a, b),
        "div": lambda: (1 / b, -a / b**2),
        "exp": lambda: (np.exp(a),),
        "log": lambda: (1 / a,),
        "tanh": lambda: (1 - np.tanh(a) ** 2,),
    }
    return rules[name]()


# %% ex-local-derivatives: the sign in the quotient
def local_derivatives(name, *inputs):
    a, b = (*inputs, None)[:2]
    rules = {
        "add": lambda: (1.0, 1.0),
        "mul": lambda: (b, a),
        "div": lambda: (1 / b, a / b**2),
        "exp": lambda: (np.exp(a),),
        "log": lambda: (1 / a,),
        "tanh": lambda: (1 - np.tanh(a) ** 2,),
    }
    return rules[name]()


# %% ex-local-derivatives: tanh not squared
def local_derivatives(name, *inputs):
    a, b = (*inputs, None)[:2]
    rules = {
        "add": lambda: (1.0, 1.0),
        "mul": lambda: (b, a),
        "div": lambda: (1 / b, -a / b**2),
        "exp": lambda: (np.exp(a),),
        "log": lambda: (1 / a,),
        "tanh": lambda: (1 - np.tanh(a),),
    }
    return rules[name]()


# %% ex-local-derivatives: the square of the input instead of that of its tanh
def local_derivatives(name, *inputs):
    a, b = (*inputs, None)[:2]
    rules = {
        "add": lambda: (1.0, 1.0),
        "mul": lambda: (b, a),
        "div": lambda: (1 / b, -a / b**2),
        "exp": lambda: (np.exp(a),),
        "log": lambda: (1 / a,),
        "tanh": lambda: (1 - a**2,),
    }
    return rules[name]()


# %% ex-local-derivatives: the absolute value in the derivative of the logarithm
def local_derivatives(name, *inputs):
    a, b = (*inputs, None)[:2]
    rules = {
        "add": lambda: (1.0, 1.0),
        "mul": lambda: (abs(b), abs(a)),
        "div": lambda: (1 / b, -a / b**2),
        "exp": lambda: (np.exp(a),),
        "log": lambda: (1 / abs(a),),
        "tanh": lambda: (1 - np.tanh(a) ** 2,),
    }
    return rules[name]()


# %% ex-local-derivatives: numbers instead of tuples for one input
def local_derivatives(name, *inputs):
    a, b = (*inputs, None)[:2]
    rules = {
        "add": lambda: (1.0, 1.0),
        "mul": lambda: (b, a),
        "div": lambda: (1 / b, -a / b**2),
        "exp": lambda: np.exp(a),
        "log": lambda: 1 / a,
        "tanh": lambda: 1 - np.tanh(a) ** 2,
    }
    return rules[name]()


# %% ex-backward: overwriting instead of accumulating
def backward(output):
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent, _ in node.parents:
                visit(parent)
            order.append(node)

    visit(output)
    for node in order:
        node.grad = 0.0
    output.grad = 1.0
    for node in reversed(order):
        for parent, derivative in node.parents:
            parent.grad = node.grad * derivative


# %% ex-backward: breadth first, each node once
def backward(output):
    queue, seen = [output], {output}
    for node in queue:
        node.grad = 0.0
        for parent, _ in node.parents:
            if parent not in seen:
                seen.add(parent)
                queue.append(parent)
    output.grad = 1.0
    for node in queue:
        for parent, derivative in node.parents:
            parent.grad += node.grad * derivative


# %% ex-backward: depth first, the whole adjoint passed on at each visit
def backward(output):
    nodes = set()

    def collect(node):
        if node not in nodes:
            nodes.add(node)
            for parent, _ in node.parents:
                collect(parent)

    def push(node, steps):
        for parent, derivative in node.parents:
            parent.grad += node.grad * derivative
            if steps:
                push(parent, steps - 1)

    collect(output)
    for node in nodes:
        node.grad = 0.0
    output.grad = 1.0
    push(output, 8)


# %% ex-backward: a node listed once for each path, so that it passes its adjoint on each time
def backward(output):
    order = []

    def visit(node):
        for parent, _ in node.parents:
            visit(parent)
        order.append(node)

    visit(output)
    for node in order:
        node.grad = 0.0
    output.grad = 1.0
    for node in reversed(order):
        for parent, derivative in node.parents:
            parent.grad += node.grad * derivative


# %% ex-backward: walking from the inputs to the output
def backward(output):
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent, _ in node.parents:
                visit(parent)
            order.append(node)

    visit(output)
    for node in order:
        node.grad = 0.0
    output.grad = 1.0
    for node in order:
        for parent, derivative in node.parents:
            parent.grad += node.grad * derivative


# %% ex-backward: the gradients of the first call are still there in the second
def backward(output):
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent, _ in node.parents:
                visit(parent)
            order.append(node)

    visit(output)
    output.grad = 1.0
    for node in reversed(order):
        for parent, derivative in node.parents:
            parent.grad += node.grad * derivative


# %% ex-backward: derivatives added instead of multiplied
def backward(output):
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent, _ in node.parents:
                visit(parent)
            order.append(node)

    visit(output)
    for node in order:
        node.grad = 0.0
    output.grad = 1.0
    for node in reversed(order):
        for parent, derivative in node.parents:
            parent.grad += node.grad + derivative


# %% ex-backward: the adjoint of the output is not set
def backward(output):
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent, _ in node.parents:
                visit(parent)
            order.append(node)

    visit(output)
    for node in order:
        node.grad = 0.0
    for node in reversed(order):
        for parent, derivative in node.parents:
            parent.grad += node.grad * derivative


# %% ex-backward: only one step back
def backward(output):
    output.grad = 1.0
    for parent, _ in output.parents:
        parent.grad = 0.0
    for parent, derivative in output.parents:
        parent.grad += derivative


# %% ex-gradient-test: the other way round
def gradient_is_wrong(f, gradient, theta):
    shifts = 1e-5 * np.eye(len(theta))
    differences = np.array([(f(theta + h) - f(theta - h)) / 2e-5 for h in shifts])
    return np.linalg.norm(gradient(theta) - differences) < 1e-3 * np.linalg.norm(differences)


# %% ex-gradient-test: an absolute tolerance
def gradient_is_wrong(f, gradient, theta):
    shifts = 1e-5 * np.eye(len(theta))
    differences = np.array([(f(theta + h) - f(theta - h)) / 2e-5 for h in shifts])
    return np.abs(gradient(theta) - differences).max() > 1e-2


# %% ex-gradient-test: no tolerance
def gradient_is_wrong(f, gradient, theta):
    shifts = 1e-5 * np.eye(len(theta))
    differences = np.array([(f(theta + h) - f(theta - h)) / 2e-5 for h in shifts])
    return bool((gradient(theta) != differences).any())


# %% ex-gradient-test: the tolerance that NumPy takes by itself, which has an absolute part
def gradient_is_wrong(f, gradient, theta):
    shifts = 1e-5 * np.eye(len(theta))
    differences = np.array([(f(theta + h) - f(theta - h)) / 2e-5 for h in shifts])
    return not np.allclose(gradient(theta), differences, rtol=1e-3, atol=1e-3)


# %% ex-gradient-test: the first coordinate alone
def gradient_is_wrong(f, gradient, theta):
    h = 1e-5 * np.eye(len(theta))[0]
    difference = (f(theta + h) - f(theta - h)) / 2e-5
    return abs(gradient(theta)[0] - difference) > 1e-3 * abs(difference)


# %% ex-gradient-test: the sum of the coordinates alone
def gradient_is_wrong(f, gradient, theta):
    difference = (f(theta + 1e-5) - f(theta - 1e-5)) / 2e-5
    return abs(gradient(theta).sum() - difference) > 1e-3 * np.abs(gradient(theta)).sum()


# %% ex-gradient-test: the length of the gradient alone
def gradient_is_wrong(f, gradient, theta):
    shifts = 1e-5 * np.eye(len(theta))
    length = np.linalg.norm([(f(theta + h) - f(theta - h)) / 2e-5 for h in shifts])
    return abs(np.linalg.norm(gradient(theta)) - length) > 1e-3 * length


# %% ex-gradient-test: steps so small that rounding is all that is left
def gradient_is_wrong(f, gradient, theta):
    shifts = 1e-15 * np.eye(len(theta))
    differences = np.array([(f(theta + h) - f(theta - h)) / 2e-15 for h in shifts])
    return np.linalg.norm(gradient(theta) - differences) > 1e-3 * np.linalg.norm(differences)


# %% ex-gradient-test: everything is believed
def gradient_is_wrong(f, gradient, theta):
    return False


# %% ex-mini-batch: the prior counts for each datapoint
def mini_batch_objective(log_prior, log_likelihoods, num_data):
    return log_prior + log_likelihoods.mean()


# %% ex-mini-batch: the prior divided by the size of the batch
def mini_batch_objective(log_prior, log_likelihoods, num_data):
    return log_prior / len(log_likelihoods) + log_likelihoods.mean()


# %% ex-mini-batch: the sum over the batch
def mini_batch_objective(log_prior, log_likelihoods, num_data):
    return log_prior / num_data + log_likelihoods.sum()


# %% ex-mini-batch: no N / B
def mini_batch_objective(log_prior, log_likelihoods, num_data):
    return (log_prior + log_likelihoods.sum()) / num_data


# %% ex-mini-batch: in all, not per datapoint
def mini_batch_objective(log_prior, log_likelihoods, num_data):
    return log_prior + num_data * log_likelihoods.mean()


# %% ex-mini-batch: no prior
def mini_batch_objective(log_prior, log_likelihoods, num_data):
    return log_likelihoods.mean()
