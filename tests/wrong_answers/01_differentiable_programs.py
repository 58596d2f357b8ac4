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


# %% ex-log-softmax: exponentiated without care
def log_softmax(logits):
    return jnp.log(jnp.exp(logits) / jnp.exp(logits).sum(-1, keepdims=True))


# %% ex-log-softmax: the largest taken out, but the log after the rounding
def log_softmax(logits):
    weights = jnp.exp(logits - logits.max(-1, keepdims=True))
    return jnp.log(weights / weights.sum(-1, keepdims=True))


# %% ex-log-softmax: the wrong axis
def log_softmax(logits):
    shifted = logits - logits.max(0, keepdims=True)
    return shifted - jnp.log(jnp.exp(shifted).sum(0, keepdims=True))


# %% ex-log-softmax: one normaliser for all rows
def log_softmax(logits):
    shifted = logits - logits.max()
    return shifted - jnp.log(jnp.exp(shifted).sum())


# %% ex-log-softmax: the largest of all rows taken out, so that the other rows underflow
def log_softmax(logits):
    shifted = logits - logits.max()
    return shifted - jnp.log(jnp.exp(shifted).sum(-1, keepdims=True))


# %% ex-log-softmax: a small number against the log of zero
def log_softmax(logits):
    weights = jnp.exp(logits - logits.max(-1, keepdims=True))
    return jnp.log(weights / weights.sum(-1, keepdims=True) + 1e-12)


# %% ex-log-softmax: the probabilities
def log_softmax(logits):
    weights = jnp.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


# %% ex-log-softmax: the logits shifted in the sum only
def log_softmax(logits):
    return logits - jnp.log(jnp.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))


# %% ex-local-derivatives: the derivatives of a product exchanged
def local_derivatives(name, *inputs):
    a, b = (*inputs, None)[:2]
    rules = {
        "add": lambda: (1.0, 1.0), "mul": lambda: (a, b), "div": lambda: (1 / b, -a / b**2),
        "exp": lambda: (np.exp(a),), "log": lambda: (1 / a,), "tanh": lambda: (1 - np.tanh(a) ** 2,),
    }  # fmt: skip
    return rules[name]()


# %% ex-local-derivatives: the sign in the quotient
def local_derivatives(name, *inputs):
    a, b = (*inputs, None)[:2]
    rules = {
        "add": lambda: (1.0, 1.0), "mul": lambda: (b, a), "div": lambda: (1 / b, a / b**2),
        "exp": lambda: (np.exp(a),), "log": lambda: (1 / a,), "tanh": lambda: (1 - np.tanh(a) ** 2,),
    }  # fmt: skip
    return rules[name]()


# %% ex-local-derivatives: tanh not squared
def local_derivatives(name, *inputs):
    a, b = (*inputs, None)[:2]
    rules = {
        "add": lambda: (1.0, 1.0), "mul": lambda: (b, a), "div": lambda: (1 / b, -a / b**2),
        "exp": lambda: (np.exp(a),), "log": lambda: (1 / a,), "tanh": lambda: (1 - np.tanh(a),),
    }  # fmt: skip
    return rules[name]()


# %% ex-local-derivatives: the square of the input instead of that of its tanh
def local_derivatives(name, *inputs):
    a, b = (*inputs, None)[:2]
    rules = {
        "add": lambda: (1.0, 1.0), "mul": lambda: (b, a), "div": lambda: (1 / b, -a / b**2),
        "exp": lambda: (np.exp(a),), "log": lambda: (1 / a,), "tanh": lambda: (1 - a**2,),
    }  # fmt: skip
    return rules[name]()


# %% ex-local-derivatives: the absolute value in the derivative of the logarithm
def local_derivatives(name, *inputs):
    a, b = (*inputs, None)[:2]
    rules = {
        "add": lambda: (1.0, 1.0), "mul": lambda: (abs(b), abs(a)), "div": lambda: (1 / b, -a / b**2),
        "exp": lambda: (np.exp(a),), "log": lambda: (1 / abs(a),), "tanh": lambda: (1 - np.tanh(a) ** 2,),
    }  # fmt: skip
    return rules[name]()


# %% ex-local-derivatives: numbers instead of tuples for one input
def local_derivatives(name, *inputs):
    a, b = (*inputs, None)[:2]
    rules = {
        "add": lambda: (1.0, 1.0), "mul": lambda: (b, a), "div": lambda: (1 / b, -a / b**2),
        "exp": lambda: np.exp(a), "log": lambda: 1 / a, "tanh": lambda: 1 - np.tanh(a) ** 2,
    }  # fmt: skip
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


# %% ex-squared-mean: the square of the mean
def squared_mean(values):
    return values.mean() ** 2


# %% ex-squared-mean: divided by all pairs
def squared_mean(values):
    return (values.sum() ** 2 - (values**2).sum()) / len(values) ** 2


# %% ex-squared-mean: the mean of the squares
def squared_mean(values):
    return (values**2).mean()


# %% ex-squared-mean: corrected by the variance with n
def squared_mean(values):
    return values.mean() ** 2 - values.var() / len(values)


# %% ex-squared-mean: unordered pairs, but each of them counted twice
def squared_mean(values):
    n = len(values)
    return (values.sum() ** 2 - (values**2).sum()) / (n * (n - 1) / 2)


# %% ex-squared-mean: neighbours only
def squared_mean(values):
    return jnp.mean(values[1:] * values[:-1])
