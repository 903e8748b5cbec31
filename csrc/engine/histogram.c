/* Log-bucket histograms: eight buckets per power of two, so that any quantile
 * is known within six per cent in a fixed 2 KiB each. Callers hold the engine's
 * mutex. */
#include "internal.h"

static unsigned hist_bucket_of(uint64_t ns) {
  if (ns < 8)
    return (unsigned)ns;
  unsigned exponent = 63u - (unsigned)__builtin_clzll(ns);
  return (exponent - 2) * 8 + ((unsigned)(ns >> (exponent - 3)) & 7u);
}

static double hist_middle_of(unsigned bucket) {
  if (bucket < 8)
    return bucket;
  unsigned exponent = bucket / 8 + 2;
  double width = (double)((uint64_t)1 << (exponent - 3));
  return width * (8 + bucket % 8) + width / 2;
}

void uvw__hist_add(uvw__hist *hist, uint64_t ns) {
  if (hist->count == 0 || ns < hist->min)
    hist->min = ns;
  if (ns > hist->max)
    hist->max = ns;
  hist->count++;
  hist->sum += ns;
  hist->buckets[hist_bucket_of(ns)]++;
}

static double hist_quantile(const uvw__hist *hist, double q) {
  /* The counters of the buckets may have wrapped; their own sum may not be
   * hist->count then. */
  uint64_t total = 0, seen = 0;
  for (unsigned i = 0; i < UVW__HIST_BUCKETS; i++)
    total += hist->buckets[i];
  uint64_t rank = (uint64_t)(q * (double)total);
  for (unsigned i = 0; i < UVW__HIST_BUCKETS; i++) {
    seen += hist->buckets[i];
    if (seen > rank) {
      double value = hist_middle_of(i);
      if (value < (double)hist->min)
        return (double)hist->min;
      return value > (double)hist->max ? (double)hist->max : value;
    }
  }
  return (double)hist->max;
}

/* count, then min mean p50 p99 max in seconds: the order of engine_api.h. */
void uvw__hist_read(const uvw__hist *hist, double *out) {
  out[0] = (double)hist->count;
  for (int i = 1; i < 6; i++)
    out[i] = 0;
  if (hist->count == 0)
    return;
  out[1] = (double)hist->min / 1e9;
  out[2] = (double)hist->sum / (double)hist->count / 1e9;
  out[3] = hist_quantile(hist, 0.5) / 1e9;
  out[4] = hist_quantile(hist, 0.99) / 1e9;
  out[5] = (double)hist->max / 1e9;
}
