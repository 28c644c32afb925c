// What features say of regions: norms, cosines, and names of the encoder's own classifier.

/** The mean of rows `[n width]` over some of them. */
export function meanRow(rows, width, patches) {
  const mean = new Float64Array(width);
  for (const patch of patches) {
    const start = patch * width;
    for (let i = 0; i < width; i++) mean[i] += rows[start + i];
  }
  for (let i = 0; i < width; i++) mean[i] /= patches.length || 1;
  return mean;
}

/** The length of a vector. */
export function norm(vector) {
  let sum = 0;
  for (const value of vector) sum += value * value;
  return Math.sqrt(sum);
}

/** The cosine of every region's mean feature to one vector, 0 where one has no direction. */
export function cosinesTo(vector, rows, width, partition) {
  const sums = regionSums(rows, width, partition);
  const cosines = new Float64Array(partition.count);
  const length = norm(vector);
  for (let region = 0; region < partition.count; region++) {
    const from = region * width;
    let [dot, square] = [0, 0];
    for (let i = 0; i < width; i++) {
      const value = sums[from + i];
      dot += value * vector[i];
      square += value * value;
    }
    cosines[region] = square && length ? dot / (Math.sqrt(square) * length) : 0;
  }
  return cosines;
}

function regionSums(rows, width, partition) {
  const sums = new Float64Array(partition.count * width);
  const add = (region, patch) => {
    const [to, from] = [region * width, patch * width];
    for (let i = 0; i < width; i++) sums[to + i] += rows[from + i];
  };
  const { labels, ownMembers } = partition;
  if (ownMembers) ownMembers.forEach((own, region) => own.forEach((patch) => add(region, patch)));
  else
    for (let patch = 0; patch < labels.length; patch++)
      if (labels[patch] >= 0) add(labels[patch], patch);
  return sums;
}

/** The best class of some patches, and its probability, by their mean logits. */
export function nameOf(logits, classes, patches) {
  const mean = meanRow(logits, classes.length, patches);
  let best = 0;
  for (let i = 1; i < mean.length; i++) if (mean[i] > mean[best]) best = i;
  let total = 0;
  for (const value of mean) total += Math.exp(value - mean[best]);
  return { name: classes[best], share: 1 / total };
}
