/* The affine field as compiled work: fitted to a small picture, applied to rows in RGB or YUV.

   What each function computes is said in field.py and video/yuv.py, which have the same in NumPy or by
   way of RGB. Rows are the caller's to divide among threads; nothing is shared but what is read. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { U8, U16, F32 };
enum { TILE = 1024, PART = 512, RADIUS = 2, SIZE = 2 * RADIUS + 1, MARGIN = 2 * RADIUS };

static inline float clamp(float value, float low, float high) {
    value = value < low ? low : value; /* what is no number stays */
    return value > high ? high : value;
}

/* Where a pixel of `size` lies over `count` map pixels: the one before, and a share of the next. */
static void locate(int64_t pixel, int64_t size, int64_t count, int64_t *before, float *share) {
    double centre = (pixel + 0.5) * ((double)count / size) - 0.5;
    centre = centre < 0 ? 0 : centre > count - 1 ? count - 1 : centre;
    *before = (int64_t)centre;
    *share = (float)(centre - *before);
}

/* Map pixels left and right of at most `most` columns from `begin` on, and the share of the right; the count. */
static int64_t locate_columns(int64_t begin, int64_t most, int64_t width, int64_t map_width, int32_t *left,
                              int32_t *right, float *share) {
    const int64_t count = width - begin < most ? width - begin : most;
    for (int64_t i = 0; i < count; i++) {
        int64_t before;
        locate(begin + i, width, map_width, &before, share + i);
        left[i] = (int32_t)before;
        right[i] = (int32_t)(before + 1 < map_width ? before + 1 : before);
    }
    return count;
}

/* `high` rows of `wide` means of cells, from rows of 8 bits; where cells reach beyond these, the last repeats. */
int shrink_rows(const uint8_t *in, float *out, int64_t rows, int64_t width, int64_t channels, int64_t cell,
                int64_t high, int64_t wide) {
    const int64_t step = width * channels;
    uint32_t *sums = malloc(sizeof(uint32_t) * step);
    if (!sums) return 1;
    for (int64_t y = 0; y < high; y++) {
        memset(sums, 0, sizeof(uint32_t) * step);
        for (int64_t row = y * cell; row < (y + 1) * cell; row++) {
            const uint8_t *from = in + (row < rows ? row : rows - 1) * step;
            for (int64_t i = 0; i < step; i++) sums[i] += from[i];
        }
        for (int64_t i = 0; i < wide * channels; i++) {
            uint32_t sum = 0;
            for (int64_t x = i / channels * cell, end = x + cell; x < end; x++)
                sum += sums[(x < width ? x : width - 1) * channels + i % channels];
            *out++ = (float)sum / (float)(cell * cell);
        }
    }
    free(sums);
    return 0;
}

/* ---- applied to rows in RGB or grey -------------------------------------------------------- */

typedef struct {
    const float *maps; /* (colours, 2, height, width): gains, then offsets */
    int64_t map_height, map_width, colours;
    int64_t width, height, channels; /* of the picture; channels behind the colours stay */
    int64_t kind;
    float top, high; /* the sample that is 1 in the maps; the largest result, in samples */
} Apply;

typedef struct {
    int32_t left[TILE], right[TILE];
    float share[TILE];
    float rows[2][2][4 * TILE]; /* two rows of the maps, with a gain and an offset for each sample */
} Wide;

static void widen(const Apply *a, int64_t row, const Wide *w, int64_t count, float (*wide)[4 * TILE]) {
    const int64_t n = a->colours;
    for (int part = 0; part < 2; part++) {
        const float scale = part ? a->top : 1;
        for (int64_t c = 0; c < n; c++) {
            const float *line = a->maps + ((2 * c + part) * a->map_height + row) * a->map_width;
            float *target = wide[part] + c;
            for (int64_t i = 0; i < count; i++) {
                const float one = line[w->left[i]];
                target[n * i] = scale * (one + (line[w->right[i]] - one) * w->share[i]);
            }
        }
    }
}

/* `through`: the type in which a processor turns many floats into integers at once. */
#define APPLY_ROW(name, type, through, half)                                                              \
    static void name(const Apply *a, float (*upper)[4 * TILE], float (*lower)[4 * TILE], float share,     \
                     const type *restrict in, type *restrict out, int64_t count) {                        \
        const int64_t n = a->colours, all = a->channels;                                                  \
        const float low = 0, high = a->high;                                                              \
        const float *restrict g = upper[0], *restrict h = lower[0];                                       \
        const float *restrict p = upper[1], *restrict q = lower[1];                                       \
        if (n == all) {                                                                                   \
            for (int64_t i = 0; i < n * count; i++) {                                                     \
                const float gain = g[i] + (h[i] - g[i]) * share, offset = p[i] + (q[i] - p[i]) * share;   \
                out[i] = (type)(through)(clamp((float)in[i] * gain + offset, low, high) + half);          \
            }                                                                                             \
            return;                                                                                       \
        }                                                                                                 \
        for (int64_t i = 0; i < count; i++) {                                                             \
            for (int64_t c = 0; c < n; c++) {                                                             \
                const int64_t k = n * i + c, own = all * i + c;                                           \
                const float gain = g[k] + (h[k] - g[k]) * share, offset = p[k] + (q[k] - p[k]) * share;   \
                out[own] = (type)(through)(clamp((float)in[own] * gain + offset, low, high) + half);      \
            }                                                                                             \
            for (int64_t c = n; c < all; c++) out[all * i + c] = in[all * i + c];                         \
        }                                                                                                 \
    }

APPLY_ROW(row_u8, uint8_t, int32_t, 0.5f)
APPLY_ROW(row_u16, uint16_t, int32_t, 0.5f)
APPLY_ROW(row_f32, float, float, 0.0f)

/* Rows first ... first + rows of the picture; `in` and `out` begin with the first of them. */
int apply_rows(const Apply *a, const void *in, void *out, int64_t first, int64_t rows) {
    const int64_t bytes = a->kind == U8 ? 1 : a->kind == U16 ? 2 : 4, step = a->width * a->channels;
    Wide *w = malloc(sizeof(Wide));
    if (!w) return 1;
    for (int64_t begin = 0; begin < a->width; begin += TILE) {
        const int64_t count = locate_columns(begin, TILE, a->width, a->map_width, w->left, w->right, w->share);
        int64_t current = -1;
        float(*upper)[4 * TILE] = w->rows[0], (*lower)[4 * TILE] = w->rows[1];
        for (int64_t row = 0; row < rows; row++) {
            int64_t above;
            float share;
            locate(first + row, a->height, a->map_height, &above, &share);
            if (above != current) {
                float(*spare)[4 * TILE] = upper;
                upper = lower, lower = spare;
                if (current < 0 || above != current + 1) widen(a, above, w, count, upper);
                widen(a, above + 1 < a->map_height ? above + 1 : above, w, count, lower);
                current = above;
            }
            const int64_t at = (row * step + begin * a->channels) * bytes;
            const char *from = (const char *)in + at;
            char *to = (char *)out + at;
            if (a->kind == U8) row_u8(a, upper, lower, share, (const uint8_t *)from, (uint8_t *)to, count);
            else if (a->kind == U16) row_u16(a, upper, lower, share, (const uint16_t *)from, (uint16_t *)to, count);
            else row_f32(a, upper, lower, share, (const float *)from, (float *)to, count);
        }
    }
    free(w);
    return 0;
}

/* ---- fitted -------------------------------------------------------------------------------- */

static int64_t mirrored(int64_t index, int64_t size) {
    index %= 2 * size;
    index += index < 0 ? 2 * size : 0;
    return index < size ? index : 2 * size - 1 - index;
}

/* A row of a picture (h, w, 3) as three planes, each with 2 * RADIUS mirrored pixels on both sides. */
static void load_row(const float *picture, int64_t width, float *planes) {
    const int64_t wide = width + 2 * MARGIN;
    for (int c = 0; c < 3; c++) {
        float *plane = planes + c * wide;
        for (int64_t i = 0; i < width; i++) plane[MARGIN + i] = picture[3 * i + c];
        for (int64_t i = 0; i < MARGIN; i++) {
            plane[i] = picture[3 * mirrored(i - MARGIN, width) + c];
            plane[MARGIN + width + i] = picture[3 * mirrored(width + i, width) + c];
        }
    }
}

static void sum_across(const float *restrict sums, float *restrict means, int64_t count, float scale) {
    for (int64_t i = 0; i < count; i++)
        means[i] = (sums[i] + sums[i + 1] + sums[i + 2] + sums[i + 3] + sums[i + 4]) * scale;
}

/* Of SIZE rows of one channel, each hazy and, three planes on, restored: the sums of both, of squares and
   of products, `wide` numbers each. Pointers that share nothing let a compiler do many numbers at once. */
static void sum_down(const float *restrict rows, int64_t wide, float *restrict sums) {
    for (int64_t i = 0; i < wide; i++) {
        float hazy = 0, restored = 0, squares = 0, products = 0;
        for (int k = 0; k < SIZE; k++) {
            const float one = rows[k * 6 * wide + i], other = rows[(k * 6 + 3) * wide + i];
            hazy += one;
            restored += other;
            squares += one * one;
            products += one * other;
        }
        sums[i] = hazy;
        sums[wide + i] = restored;
        sums[2 * wide + i] = squares;
        sums[3 * wide + i] = products;
    }
}

/* Of a row: means of hazy and restored, variance and covariance of each channel, to gains and offsets.
   `pull`: room for what draws the gains to that of grey. */
static void fit_gains(const float *restrict means, int64_t count, float epsilon, float *restrict pull,
                      float *restrict fit) {
    for (int64_t i = 0; i < count; i++) {
        const float variances = means[2 * count + i] + means[6 * count + i] + means[10 * count + i];
        const float covariances = means[3 * count + i] + means[7 * count + i] + means[11 * count + i];
        pull[i] = epsilon * ((covariances + epsilon) / (variances + epsilon));
    }
    for (int c = 0; c < 3; c++) {
        const float *own = means + 4 * c * count;
        for (int64_t i = 0; i < count; i++) {
            const float gain = (own[3 * count + i] + pull[i]) / (own[2 * count + i] + epsilon);
            fit[2 * c * count + i] = gain;
            fit[(2 * c + 1) * count + i] = own[count + i] - gain * own[i];
        }
    }
}

/* Maps (3, 2, height, width), rows first ... last, of hazy and restored (height, width, 3). */
int fit_rows(const float *hazy, const float *restored, float *maps, int64_t height, int64_t width,
             float epsilon, int64_t first, int64_t last) {
    const int64_t wide = width + 2 * MARGIN, inner = width + 2 * RADIUS;
    const float scale = 1.0f / (SIZE * SIZE);
    /* Rings of SIZE rows: pictures (2, 3 planes), then gains and offsets (3, 2 planes). */
    float *rows = malloc(sizeof(float) * (SIZE * 6 * wide + SIZE * 6 * inner + 4 * wide + 12 * inner));
    if (!rows) return 1;
    float *found = rows + SIZE * 6 * wide, *sums = found + SIZE * 6 * inner, *means = sums + 4 * wide;
    for (int64_t row = first - MARGIN; row < last + MARGIN; row++) {
        const int64_t own = mirrored(row, height) * width * 3;
        float *slot = rows + ((row + MARGIN) % SIZE) * 6 * wide;
        load_row(hazy + own, width, slot);
        load_row(restored + own, width, slot + 3 * wide);
        if (row < first) continue; /* the first window of rows is full at row first */
        for (int c = 0; c < 3; c++) {
            sum_down(rows + c * wide, wide, sums);
            for (int k = 0; k < 4; k++) sum_across(sums + k * wide, means + (4 * c + k) * inner, inner, scale);
            float *mh = means + 4 * c * inner, *mr = mh + inner, *mhh = mr + inner, *mhr = mhh + inner;
            for (int64_t i = 0; i < inner; i++) {
                mhh[i] -= mh[i] * mh[i];
                mhr[i] -= mh[i] * mr[i];
            }
        }
        float *fit = found + ((row + MARGIN) % SIZE) * 6 * inner;
        fit_gains(means, inner, epsilon, sums, fit);
        if (row < first + MARGIN) continue; /* the second window */
        for (int k = 0; k < 6; k++) {
            const float *part = found + k * inner;
            for (int64_t i = 0; i < inner; i++) {
                float sum = 0;
                for (int s = 0; s < SIZE; s++) sum += part[s * 6 * inner + i];
                sums[i] = sum;
            }
            sum_across(sums, maps + (k * height + row - MARGIN) * width, width, scale);
        }
    }
    free(rows);
    return 0;
}

/* ---- applied to rows in YUV ---------------------------------------------------------------- */

typedef struct {
    const float *maps; /* (3, 2, height, width): of red, green, blue in [0,1] */
    int64_t map_height, map_width;
    int64_t width, height, across, down; /* size in luma; log2 of how much coarser colour is */
    int64_t deep, top;                   /* 16-bit samples; their largest value */
    const void *in[3];
    void *out[3];
    int64_t in_step[3], out_step[3]; /* bytes from row to row */
    float black, luma, chroma;       /* sample of black; samples of white less black; of all of chroma */
    float red, blue;                 /* shares of red and blue in luma */
} Yuv;

typedef struct {
    int32_t left[PART], right[PART];
    float share[PART];
    float rows[2][6][PART]; /* two rows of the maps */
    float red[PART], green[PART], blue[PART]; /* what colour adds to luma */
    float cb[PART], cr[PART];                 /* sums of the restored pixels of a row or two */
    float y[PART];
} Band;

static void widen_planes(const Yuv *v, int64_t row, const Band *b, int64_t count, float (*wide)[PART]) {
    for (int k = 0; k < 6; k++) {
        const float *line = v->maps + (k * v->map_height + row) * v->map_width;
        for (int64_t i = 0; i < count; i++) {
            const float one = line[b->left[i]];
            wide[k][i] = one + (line[b->right[i]] - one) * b->share[i];
        }
    }
}

/* Samples of a row, from column begin on, as numbers. */
static void load(const Yuv *v, int plane, int64_t row, int64_t begin, int64_t count, float *restrict values) {
    const char *line = (const char *)v->in[plane] + row * v->in_step[plane];
    if (v->deep)
        for (int64_t i = 0; i < count; i++) values[i] = ((const uint16_t *)line)[begin + i];
    else
        for (int64_t i = 0; i < count; i++) values[i] = ((const uint8_t *)line)[begin + i];
}

/* One row of luma, count pixels from column begin; adds its colours to the sums. */
static void restore_luma(const Yuv *restrict v, Band *restrict b, float (*restrict upper)[PART],
                         float (*restrict lower)[PART], float share, int64_t row, int64_t begin,
                         int64_t count) {
    const float kr = v->red, kb = v->blue, kg = 1 - kr - kb;
    const float per = 1 / v->luma, to_cb = v->chroma / (2 * (1 - kb)), to_cr = v->chroma / (2 * (1 - kr));
    char *target = (char *)v->out[0] + row * v->out_step[0];
    load(v, 0, row, begin, count, b->y);
    for (int64_t i = 0; i < count; i++) {
        float value[6];
        for (int k = 0; k < 6; k++) value[k] = upper[k][i] + (lower[k][i] - upper[k][i]) * share;
        const float y = (b->y[i] - v->black) * per;
        const float r = clamp((y + b->red[i]) * value[0] + value[1], 0, 1);
        const float g = clamp((y + b->green[i]) * value[2] + value[3], 0, 1);
        const float u = clamp((y + b->blue[i]) * value[4] + value[5], 0, 1);
        const float bright = kr * r + kg * g + kb * u;
        b->y[i] = bright * v->luma + v->black + 0.5f;
        b->cb[i] += (u - bright) * to_cb;
        b->cr[i] += (r - bright) * to_cr;
    }
    if (v->deep)
        for (int64_t i = 0; i < count; i++) ((uint16_t *)target)[begin + i] = (uint16_t)(int32_t)b->y[i];
    else
        for (int64_t i = 0; i < count; i++) ((uint8_t *)target)[begin + i] = (uint8_t)(int32_t)b->y[i];
}

/* What the colour of a row of chroma adds to red, green and blue, for every pixel of luma. */
static void spread_chroma(const Yuv *v, Band *b, int64_t row, int64_t begin, int64_t count) {
    const float kr = v->red, kb = v->blue, kg = 1 - kr - kb, middle = (v->top + 1) / 2;
    const float of_red = 2 * (1 - kr) / v->chroma, of_blue = 2 * (1 - kb) / v->chroma;
    const int64_t columns = v->across ? (count + 1) / 2 : count;
    float *restrict red = b->red, *restrict green = b->green, *restrict blue = b->blue;
    load(v, 1, row, begin >> v->across, columns, b->cb);
    load(v, 2, row, begin >> v->across, columns, b->cr);
    if (v->across)
        for (int64_t i = 0; i < columns; i++) {
            blue[2 * i] = blue[2 * i + 1] = (b->cb[i] - middle) * of_blue;
            red[2 * i] = red[2 * i + 1] = (b->cr[i] - middle) * of_red;
        }
    else
        for (int64_t i = 0; i < columns; i++) {
            blue[i] = (b->cb[i] - middle) * of_blue;
            red[i] = (b->cr[i] - middle) * of_red;
        }
    for (int64_t i = 0; i < count; i++) green[i] = -(kb * blue[i] + kr * red[i]) / kg;
}

static void put_chroma(const Yuv *v, float *restrict sums, int plane, int64_t row, int64_t begin,
                       int64_t count, int64_t rows) {
    char *line = (char *)v->out[plane] + row * v->out_step[plane];
    const float middle = (v->top + 1) / 2 + 0.5f, top = (float)v->top;
    const int64_t columns = v->across ? (count + 1) / 2 : count;
    const float share = 1.0f / (float)(rows << v->across);
    if (v->across) {
        if (count % 2) sums[count] = sums[count - 1]; /* the last one stands for two */
        for (int64_t i = 0; i < columns; i++) sums[i] = sums[2 * i] + sums[2 * i + 1];
    }
    for (int64_t i = 0; i < columns; i++) sums[i] = clamp(sums[i] * share + middle, 0, top);
    if (v->deep)
        for (int64_t i = 0; i < columns; i++)
            ((uint16_t *)line)[(begin >> v->across) + i] = (uint16_t)(int32_t)sums[i];
    else
        for (int64_t i = 0; i < columns; i++)
            ((uint8_t *)line)[(begin >> v->across) + i] = (uint8_t)(int32_t)sums[i];
}

/* Rows first ... last of chroma, and the luma that belongs to them. */
int apply_yuv(const Yuv *v, int64_t first, int64_t last) {
    Band *b = malloc(sizeof(Band));
    if (!b) return 1;
    for (int64_t begin = 0; begin < v->width; begin += PART) {
        const int64_t count = locate_columns(begin, PART, v->width, v->map_width, b->left, b->right, b->share);
        int64_t current = -1;
        float(*upper)[PART] = b->rows[0], (*lower)[PART] = b->rows[1];
        for (int64_t row = first; row < last; row++) {
            const int64_t top = row << v->down, end = (row + 1) << v->down;
            const int64_t bottom = end < v->height ? end : v->height;
            spread_chroma(v, b, row, begin, count);
            memset(b->cb, 0, sizeof b->cb);
            memset(b->cr, 0, sizeof b->cr);
            for (int64_t line = top; line < bottom; line++) {
                int64_t above;
                float share;
                locate(line, v->height, v->map_height, &above, &share);
                if (above != current) {
                    float(*spare)[PART] = upper;
                    upper = lower, lower = spare;
                    if (current < 0 || above != current + 1) widen_planes(v, above, b, count, upper);
                    widen_planes(v, above + 1 < v->map_height ? above + 1 : above, b, count, lower);
                    current = above;
                }
                restore_luma(v, b, upper, lower, share, line, begin, count);
            }
            put_chroma(v, b->cb, 1, row, begin, count, bottom - top);
            put_chroma(v, b->cr, 2, row, begin, count, bottom - top);
        }
    }
    free(b);
    return 0;
}
