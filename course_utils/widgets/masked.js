// Inference from what was seen of an image, as in notebook 10. Arrays of jax-js belong to the function that they are given
// to: `.ref` keeps one for another use.

export const MASKED_STEPS = 200;
const FIRST_RATE = 0.1;

/** Return the activations of jax-js by the names that the page has for them. */
const jaxActivations = ({ numpy: np, nn }) => ({
  silu: nn.silu,
  relu: nn.relu,
  tanh: np.tanh,
  gelu: nn.gelu,
  elu: nn.elu,
  softplus: softplus(np),
  sigmoid: nn.sigmoid,
  leaky_relu: nn.leakyRelu,
  identity: (x) => x,
});

/** Return `log(1 + exp(x))`; that of jax-js overflows beyond 88. */
const softplus = (np) => (x) => np.maximum(x.ref, 0).add(np.log1p(np.exp(np.absolute(x).neg())));

/**
 * Return the estimate of the ELBO of what was seen, in nats: the mean over draws of the log-likelihood of the pixels
 * that were seen, minus the exact KL to the prior. Shapes: mean and logScale [latent], noise [K, latent], x and seen
 * [data]; each layer of the decoder has a kernel [in, out] and a bias [out]. The biases stand beside q, since jax-js
 * computes the derivative of a layer anew for each weight behind it, unless that of its bias is wanted too.
 */
const maskedElbo = (jax, layers) => {
  const { numpy: np } = jax;
  const activations = jaxActivations(jax);
  return ({ mean, logScale, biases }, noise, x, seen, kernels) => {
    const numDraws = noise.shape[0];
    let values = np.exp(logScale.ref).mul(noise).add(mean.ref);
    layers.forEach(({ activation }, i) => {
      values = np.dot(values, kernels[i]).add(biases[i]);
      // The last activation turns logits to probabilities: the likelihood is computed from the logits.
      if (i < layers.length - 1) values = activations[activation](values);
    });
    const logLikelihood = x.mul(values.ref).sub(softplus(np)(values)).mul(seen).sum().div(numDraws);
    const kl = np.square(mean).add(np.exp(logScale.ref.mul(2))).sub(1).mul(0.5).sub(logScale).sum();
    return logLikelihood.sub(kl);
  };
};

/**
 * Return the compiled bound for one decoder: `value(q, noise, x, seen)` in nats, and `gradient(...)` of the same, the
 * derivatives with respect to mean and log-scale. `q` holds both as Float32Arrays; `noise` has one draw after the other.
 */
export function maskedBound(jax, layers, numbers) {
  const { numpy: np, jit, grad, tree } = jax;
  let start = 0;
  const [kernels, biases] = [[], []];
  for (const { inputs, outputs } of layers) {
    const middle = start + inputs * outputs;
    const kernel = np.array(numbers.slice(start, middle)).reshape([outputs, inputs]);
    kernels.push(jit((rows) => rows.transpose().add(0))(kernel));
    start = middle + outputs;
    biases.push(np.array(numbers.slice(middle, start)));
  }
  const elbo = maskedElbo(jax, layers);
  const [value, gradient] = [jit(elbo), jit(grad(elbo))];
  const latentDim = layers[0].inputs;
  const call = (f, { mean, logScale }, noise, x, seen) => {
    const draws = np.array(noise).reshape([-1, latentDim]);
    const parameters = { mean: np.array(mean), logScale: np.array(logScale), biases: tree.ref(biases) };
    return f(parameters, draws, np.array(x), np.array(seen), tree.ref(kernels));
  };
  return {
    value: (...given) => call(value, ...given).js(),
    gradient(...given) {
      const found = call(gradient, ...given);
      tree.dispose(found.biases);
      return [found.mean, found.logScale].map((each) => each.dataSync());
    },
  };
}

/** Return `step(q, gradient)`, which gives the next q: Adam up the gradient, its rate falling to zero along a cosine. */
export function adamClimb(latentDim) {
  const [first, second] = [new Float64Array(2 * latentDim), new Float64Array(2 * latentDim)];
  let t = 0;
  return ({ mean, logScale }, [ofMean, ofLogScale]) => {
    const rate = 0.5 * FIRST_RATE * (1 + Math.cos((Math.PI * t) / MASKED_STEPS));
    t += 1;
    const climb = (values, gradient, from) =>
      values.map((value, i) => {
        first[from + i] = 0.9 * first[from + i] + 0.1 * gradient[i];
        second[from + i] = 0.999 * second[from + i] + 0.001 * gradient[i] ** 2;
        const [direction, size] = [first[from + i] / (1 - 0.9 ** t), second[from + i] / (1 - 0.999 ** t)];
        return value + (rate * direction) / (Math.sqrt(size) + 1e-8);
      });
    return { mean: climb(mean, ofMean, 0), logScale: climb(logScale, ofLogScale, latentDim) };
  };
}
