// Bayesian linear regression in closed form, as in notebook 3: θ ~ N(0, s² I), y | θ ~ N(ψ(x)ᵀ θ, σ²).

const sum = (count, term) => {
  let total = 0;
  for (let i = 0; i < count; i++) total += term(i);
  return total;
};

/** Return the Legendre polynomials P₀, ..., P_degree at `x`. */
function features(x, degree) {
  const values = [1, x];
  for (let n = 1; n < degree; n++) values.push(((2 * n + 1) * x * values[n] - n * values[n - 1]) / (n + 1));
  return values.slice(0, degree + 1);
}

/** Return the lower triangle L with L Lᵀ = `matrix`, which must be positive definite. */
function cholesky(matrix) {
  const root = matrix.map((row) => row.map(() => 0));
  for (let i = 0; i < matrix.length; i++) {
    for (let j = 0; j <= i; j++) {
      const rest = matrix[i][j] - sum(j, (k) => root[i][k] * root[j][k]);
      root[i][j] = i === j ? Math.sqrt(rest) : rest / root[j][j];
    }
  }
  return root;
}

/** Return L⁻¹ b. */
function solveLower(root, b) {
  const solved = [];
  root.forEach((row, i) => solved.push((b[i] - sum(i, (k) => row[k] * solved[k])) / row[i]));
  return solved;
}

/** Return L⁻ᵀ b. */
function solveUpper(root, b) {
  const solved = new Array(b.length).fill(0);
  for (let i = b.length - 1; i >= 0; i--) {
    const rest = sum(b.length - 1 - i, (k) => root[i + 1 + k][i] * solved[i + 1 + k]);
    solved[i] = (b[i] - rest) / root[i][i];
  }
  return solved;
}

/**
 * Return what the points [x, y] say about a polynomial: the posterior's `mean` of the weights and the `root` L of its
 * precision L Lᵀ, and `logEvidence`, log p(y) in nats with the weights averaged out.
 */
export function regression(points, degree, priorScale, noiseScale) {
  const rows = points.map(([x]) => features(x, degree));
  const num = points.length;
  const dim = degree + 1;
  const axes = Array.from({ length: dim }, (_, d) => d);
  const precision = axes.map((d) => axes.map((e) =>
    (d === e ? priorScale ** -2 : 0) + sum(num, (i) => rows[i][d] * rows[i][e]) / noiseScale ** 2));
  const slope = axes.map((d) => sum(num, (i) => rows[i][d] * points[i][1]) / noiseScale ** 2);
  const root = cholesky(precision);
  const mean = solveUpper(root, solveLower(root, slope));
  const squares = sum(num, (i) => points[i][1] ** 2) / noiseScale ** 2 - sum(dim, (d) => slope[d] * mean[d]);
  const logDeterminant = 2 * sum(dim, (d) => Math.log(root[d][d] * priorScale));
  const logEvidence = -0.5 * (squares + logDeterminant + num * Math.log(2 * Math.PI * noiseScale ** 2));
  return { mean, root, logEvidence };
}

/** Return mean and scale of the polynomial at `x`, without the noise of a new measurement. */
export function predictive({ mean, root }, x) {
  const row = features(x, mean.length - 1);
  const spread = solveLower(root, row);
  return { mean: sum(row.length, (d) => row[d] * mean[d]), scale: Math.sqrt(sum(row.length, (d) => spread[d] ** 2)) };
}

/** Return the function that the weights mean + L⁻ᵀ noise make: a draw of the posterior if the noise is standard normal. */
export function drawnFunction({ mean, root }, noise) {
  const step = solveUpper(root, noise.slice(0, mean.length));
  const weights = mean.map((value, d) => value + step[d]);
  return (x) => {
    const row = features(x, weights.length - 1);
    return sum(row.length, (d) => row[d] * weights[d]);
  };
}
