/* Sampling of a deformable 3x3 convolution on a CPU, forwards and backwards.

   Features and columns are channels-last, (pixels, channels) and (pixels, taps, channels), float32 or,
   with bf16 != 0, bfloat16 (the upper half of a float32). Offsets (batch, 2 * taps, height, width) in
   pixels, dy before dx, and masks (batch, taps, height, width) are float32. Outside is zero.
   Work is divided among the threads of OpenMP, PyTorch's own where both use one library: other
   threads would wait while PyTorch's spin. Forwards by rows; backwards by images, and where there are
   fewer of these than threads, by blocks of channels as well. */

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    int64_t batch, channels, height, width, size; /* size: side of the kernel */
    int64_t bf16;
} Shape;

typedef struct {
    int64_t pixel[4]; /* of the four corners; -1 outside */
    float share[4];   /* bilinear shares, without the mask */
    float down, right, mask;
} Sample;

static Sample locate(const Shape *s, const float *offset, const float *mask, int64_t image, int64_t y,
                     int64_t x, int64_t tap) {
    const int64_t taps = s->size * s->size, area = s->height * s->width, here = y * s->width + x;
    const float *moved = offset + (image * 2 * taps + 2 * tap) * area + here;
    const float row = y + tap / s->size - s->size / 2 + moved[0];
    const float column = x + tap % s->size - s->size / 2 + moved[area];
    Sample sample = {.pixel = {-1, -1, -1, -1}, .mask = mask[(image * taps + tap) * area + here]};
    if (!(row > -1 && row < s->height && column > -1 && column < s->width)) return sample;
    const int64_t top = (int64_t)floorf(row), left = (int64_t)floorf(column);
    sample.down = row - top;
    sample.right = column - left;
    for (int corner = 0; corner < 4; corner++) {
        const int64_t r = top + corner / 2, c = left + corner % 2;
        if (r >= 0 && r < s->height && c >= 0 && c < s->width)
            sample.pixel[corner] = image * area + r * s->width + c;
        sample.share[corner] = (corner / 2 ? sample.down : 1 - sample.down) *
                               (corner % 2 ? sample.right : 1 - sample.right);
    }
    return sample;
}

static inline float widen(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline uint16_t narrow(float value) { /* to nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

#define ALWAYS static inline __attribute__((always_inline))

/* The element `index` of an array of either kind; `bf16` is a constant where this is inlined. */
ALWAYS float get(const void *array, int64_t index, int bf16) {
    return bf16 ? widen(((const uint16_t *)array)[index]) : ((const float *)array)[index];
}

ALWAYS void set(void *array, int64_t index, float value, int bf16) {
    if (bf16)
        ((uint16_t *)array)[index] = narrow(value);
    else
        ((float *)array)[index] = value;
}

/* Where each corner's channels begin, a corner outside at the first pixel with a share of 0. */
ALWAYS void find_corners(const Shape *s, const Sample *sample, int64_t at[4], float weight[4]) {
    for (int corner = 0; corner < 4; corner++) {
        const int inside = sample->pixel[corner] >= 0;
        at[corner] = inside ? sample->pixel[corner] * s->channels : 0;
        weight[corner] = inside ? sample->mask * sample->share[corner] : 0;
    }
}

ALWAYS void sample_row(const Shape *s, const void *restrict features, const float *offset,
                       const float *mask, void *restrict columns, int64_t row, int bf16) {
    const int64_t taps = s->size * s->size, channels = s->channels;
    for (int64_t x = 0; x < s->width; x++)
        for (int64_t tap = 0; tap < taps; tap++) {
            const Sample sample = locate(s, offset, mask, row / s->height, row % s->height, x, tap);
            const int64_t column = ((row * s->width + x) * taps + tap) * channels;
            int64_t at[4];
            float weight[4];
            find_corners(s, &sample, at, weight);
            for (int64_t c = 0; c < channels; c++) {
                const float top = weight[0] * get(features, at[0] + c, bf16) +
                                  weight[1] * get(features, at[1] + c, bf16);
                const float bottom = weight[2] * get(features, at[2] + c, bf16) +
                                     weight[3] * get(features, at[3] + c, bf16);
                set(columns, column + c, top + bottom, bf16);
            }
        }
}

/* Of one image, the channels first <= c < last. */
ALWAYS void spread_image(const Shape *s, const void *restrict features, const float *offset,
                         const float *mask, const void *restrict arriving, float *restrict to_features,
                         float *restrict to_offset, float *restrict to_mask, int64_t image, int64_t first,
                         int64_t last, int bf16) {
    const int64_t taps = s->size * s->size, area = s->height * s->width;
    for (int64_t y = 0; y < s->height; y++)
        for (int64_t x = 0; x < s->width; x++)
            for (int64_t tap = 0; tap < taps; tap++) {
                const Sample sample = locate(s, offset, mask, image, y, x, tap);
                const int64_t here = y * s->width + x;
                const int64_t column = ((image * area + here) * taps + tap) * s->channels;
                int64_t at[4];
                float weight[4], dot[4];
                find_corners(s, &sample, at, weight);
                for (int corner = 0; corner < 4; corner++) {
                    float sum = 0;
                    if (sample.pixel[corner] >= 0)
                        for (int64_t c = first; c < last; c++) {
                            const float gradient = get(arriving, column + c, bf16);
                            sum += gradient * get(features, at[corner] + c, bf16);
                            to_features[at[corner] + c] += weight[corner] * gradient;
                        }
                    dot[corner] = sum;
                }
                const float d = sample.down, r = sample.right;
                float *moved = to_offset + (image * 2 * taps + 2 * tap) * area + here;
                moved[0] += sample.mask * ((1 - r) * (dot[2] - dot[0]) + r * (dot[3] - dot[1]));
                moved[area] += sample.mask * ((1 - d) * (dot[1] - dot[0]) + d * (dot[3] - dot[2]));
                for (int corner = 0; corner < 4; corner++)
                    to_mask[(image * taps + tap) * area + here] += sample.share[corner] * dot[corner];
            }
}

/* What all taps see, of all images. */
void sample_columns(const Shape *s, const void *features, const float *offset, const float *mask,
                    void *columns, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < s->batch * s->height; row++)
        if (s->bf16)
            sample_row(s, features, offset, mask, columns, row, 1);
        else
            sample_row(s, features, offset, mask, columns, row, 0);
}

/* Adds to the gradients, all float32: of features (pixels, channels), and, a part for each of `blocks`
   blocks of channels, of offset (blocks, ...) and mask (blocks, ...), shaped as these. */
void sample_columns_backward(const Shape *s, const void *features, const float *offset, const float *mask,
                             const void *arriving, float *to_features, float *to_offset, float *to_mask,
                             int64_t blocks, int threads) {
    const int64_t places = s->batch * s->size * s->size * s->height * s->width;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t part = 0; part < s->batch * blocks; part++) {
        const int64_t image = part / blocks, block = part % blocks;
        const int64_t first = s->channels * block / blocks, last = s->channels * (block + 1) / blocks;
        float *moved = to_offset + block * 2 * places, *masked = to_mask + block * places;
        if (s->bf16)
            spread_image(s, features, offset, mask, arriving, to_features, moved, masked, image, first, last, 1);
        else
            spread_image(s, features, offset, mask, arriving, to_features, moved, masked, image, first, last, 0);
    }
}
