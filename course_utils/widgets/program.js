// Functions that were written in JAX, run by jax-js.

/** Return for each primitive of JAX what it is in jax-js, of its inputs and its parameters. */
function primitivesOf({ numpy: np, lax }) {
  const power = (x, n) => (n === 1 ? x : n % 2 ? x.ref.mul(power(x, n - 1)) : square(power(x, n / 2)));
  const square = (x) => x.ref.mul(x);
  return {
    add: (a, b) => a.add(b),
    sub: (a, b) => a.sub(b),
    mul: (a, b) => a.mul(b),
    div: (a, b) => a.div(b),
    max: (a, b) => np.maximum(a, b),
    min: (a, b) => np.minimum(a, b),
    pow: (a, b) => np.power(a, b),
    neg: (a) => a.neg(),
    exp: (a) => np.exp(a),
    log: (a) => np.log(a),
    log1p: (a) => np.log1p(a),
    expm1: (a) => np.expm1(a),
    sqrt: (a) => np.sqrt(a),
    rsqrt: (a) => np.reciprocal(np.sqrt(a)),
    square,
    tanh: (a) => np.tanh(a),
    logistic: (a) => np.reciprocal(np.exp(a.neg()).add(1)),
    sin: (a) => np.sin(a),
    cos: (a) => np.cos(a),
    abs: (a) => np.abs(a),
    sign: (a) => np.sign(a),
    stop_gradient: (a) => lax.stopGradient(a),
    gt: (a, b) => a.greater(b),
    lt: (a, b) => a.less(b),
    ge: (a, b) => a.greaterEqual(b),
    le: (a, b) => a.lessEqual(b),
    eq: (a, b) => a.equal(b),
    ne: (a, b) => a.notEqual(b),
    is_finite: (a) => np.isfinite(a),
    select_n: (which, ifFalse, ifTrue) => np.where(which, ifTrue, ifFalse),
    convert_element_type: (a) => a.astype(np.float32),
    reduce_sum: (a, { axes }) => np.sum(a, axes),
    reduce_max: (a, { axes }) => np.max(a, axes),
    reduce_min: (a, { axes }) => np.min(a, axes),
    integer_pow: (a, { y }) => (y < 0 ? np.reciprocal(power(a, -y)) : power(a, y)),
    squeeze: (a, { dimensions }) => np.squeeze(a, dimensions),
    reshape: (a, { new_sizes }) => np.reshape(a, new_sizes),
    transpose: (a, { permutation }) => np.transpose(a, permutation),
    concatenate: (...given) => np.concatenate(given.slice(0, -1), given.at(-1).dimension),
    slice: (a, { start_indices, limit_indices }) => a.slice(...start_indices.map((start, i) => [start, limit_indices[i]])),
    broadcast_in_dim: (a, { shape, broadcast_dimensions }) => {
      const sizes = new Array(shape.length).fill(1);
      broadcast_dimensions.forEach((dimension, i) => (sizes[dimension] = a.shape[i]));
      return np.broadcastTo(np.reshape(a, sizes), shape);
    },
    dot_general: (a, b, { dimension_numbers: [contracted] }) => np.tensordot(a, b, contracted),
  };
}

/** Return the function, from an array to a number, that `program` is in jax-js. */
export function runnable({ constants, steps, uses, output }, jax) {
  const primitives = primitivesOf(jax);
  const asNumbers = (constant) => (Array.isArray(constant) ? constant.map(asNumbers) : Number(constant));
  return (argument) => {
    const values = [argument, ...constants.map((constant) => jax.numpy.array(asNumbers(constant)))];
    const left = [...uses];
    if (left[0] === 0) argument.dispose();
    // jax-js takes what it is handed, unless it is told that it will be handed over once more.
    const read = (variable) => (--left[variable] ? values[variable].ref : values[variable]);
    for (const { primitive, inputs, ...parameters } of steps) {
      values.push(primitives[primitive](...inputs.map(read), parameters));
    }
    return values[output];
  };
}
