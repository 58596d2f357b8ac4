// The variational autoencoder of notebook 09, in the same words; `jax` is jax-js. An array belongs to the function that
// it is given to, and is gone after that: `.ref` keeps it for one use more.

export const { numpy: np, nn, tree, jit, valueAndGrad } = jax;

/** Return the outputs of a network, layer by layer `[matrix, bias]`: [batch, in] -> [batch, out]. */
export function runNetwork(layers, x) {
  layers.forEach(([matrix, bias], i) => {
    x = np.dot(x, matrix).add(bias);
    if (i < layers.length - 1) x = nn.silu(x);
  });
  return x;
}

/** Return `log(1 + exp(x))`: that of jax-js overflows beyond 88, and its `log1p` would take most of a step's time. */
export const softplus = (x) => np.maximum(x.ref, 0).add(np.log(np.exp(np.negative(np.abs(x))).add(1)));

/** Return `log p(x|z)` in nats: [K, batch, data], [batch, data] -> [K, batch]. */
export const bernoulliLogLikelihood = (logits, x) => x.mul(logits.ref).sub(softplus(logits)).sum(-1);

/** Return `KL[q(z_d|x) || p(z_d)]` in nats for each dimension d: [batch, latent]. */
export const normalKl = (mean, logScale) =>
  np.square(mean).add(np.exp(logScale.ref.mul(2))).sub(1).mul(0.5).sub(logScale);

/** Return the log-density of a normal in nats, summed over the last axis. */
export const normalLogDensity = (z, mean, logScale) =>
  np.square(z.sub(mean).div(np.exp(logScale.ref))).mul(-0.5).sub(logScale).sub(0.5 * Math.log(2 * Math.PI)).sum(-1);

/** Return the mean and the log-scale of `q(z|x)`: [batch, latent] each. */
export const encode = (weights, x) => np.split(runNetwork(weights.encoder, x), 2, -1);

/**
 * Return what `objective` climbs, in nats per image: the mean over the batch of the importance-weighted bound, which is
 * the ELBO for K = 1, with the KL times `beta`. All objectives but the "right" one are those of the bug clinic.
 * Shapes: x [batch, data], noise [K, batch, latent], beta [].
 */
export function estimate(objective, weights, x, noise, beta, numData) {
  const [numSamples, batch, latent] = noise.shape;
  const dataDim = x.shape[1];
  const [mean, logScale] = encode({ encoder: weights.encoder }, x.ref);
  const width = np.exp(logScale.ref.mul(objective === "variance as scale" ? 2 : 1));
  const z = mean.ref.add(width.mul(noise.mul(objective === "no noise" ? 0 : 1)));
  const logits = runNetwork(weights.decoder, z.ref.reshape([numSamples * batch, latent]));
  let logLikelihood = bernoulliLogLikelihood(logits.reshape([numSamples, batch, dataDim]), x);
  if (objective === "mean over pixels") logLikelihood = logLikelihood.div(dataDim);
  if (objective === "N/B times the KL") beta = beta.mul(numData / batch);
  if (objective === "mean over latents") beta = beta.div(latent);
  if (numSamples === 1) {
    z.dispose();
    return logLikelihood.reshape([batch]).sub(normalKl(mean, logScale).sum(-1).mul(beta)).mean();
  }
  const zeros = np.zeros([latent]);
  const logRatio = normalLogDensity(z.ref, zeros.ref, zeros).sub(normalLogDensity(z, mean, logScale));
  const logWeights = logLikelihood.add(logRatio.mul(beta));
  const logSumExp = nn.logsumexp(logWeights, 0);
  return (objective === "missing 1/K" ? logSumExp : logSumExp.sub(Math.log(numSamples))).mean();
}

/** Return what Adam divides its running means by after step t, which counts from 1; in a kernel it would cost more. */
export const corrections = (t) => [0.9, 0.999].map((decay) => np.array(1 - decay ** t));

/** Return the weights after a step of Adam *up* the gradient, and its two running means. */
export function adam(weights, first, second, gradient, rate, [unbiasFirst, unbiasSecond]) {
  first = tree.map((m, g) => m.mul(0.9).add(g.mul(0.1)), first, tree.ref(gradient));
  second = tree.map((v, g) => v.mul(0.999).add(np.square(g).mul(0.001)), second, gradient);
  const move = (weight, m, v) =>
    weight.add(m.div(unbiasFirst.ref).mul(rate.ref).div(np.sqrt(v.div(unbiasSecond.ref)).add(1e-8)));
  return [tree.map(move, weights, tree.ref(first), tree.ref(second)), first, second];
}

/** Return a compiled step up `objective`: what it climbed, and the next weights and running means. */
export const makeStep = (objective, numData) =>
  jit((weights, first, second, x, noise, beta, rate, unbias) => {
    const climb = valueAndGrad((weights) => estimate(objective, weights, x, noise, beta, numData));
    const [value, gradient] = climb(tree.ref(weights));
    return [value, ...adam(weights, first, second, gradient, rate, unbias)];
  });

/** Compiled: the right bound of a batch, in nats per image, and the mean and log-scale of its codes. */
export const rightBound = jit((weights, x, noise) => estimate("right", weights, x, noise, np.array(1), 1));
export const codes = jit((encoder, x) => encode({ encoder }, x));

/** Return initial layers of these sizes; `normal(n)` draws n standard normal numbers. */
export function newLayers(normal, ...sizes) {
  return sizes.slice(1).map((outputs, i) => {
    const matrix = normal(sizes[i] * outputs).map((value) => value / Math.sqrt(sizes[i]));
    return [np.array(matrix).reshape([sizes[i], outputs]), np.zeros([outputs])];
  });
}
