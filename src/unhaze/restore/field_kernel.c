/* The affine field as compiled work: fitted to a small picture, applied to rows in RGB or YUV.

   What each function computes is said in field.py and video/yuv.py, which have the same in NumPy or by
   way of RGB. Rows are the caller's to divide among threads; nothing is shared but what is read. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { U8, U16, F32 };
enum { TILE = 1024, RADIUS = 2, SIZE = 2 * RADIUS + 1, MARGIN = 2 * RADIUS };

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

/* ---- applied to rows in RGB or grey -------------------------------------------------------- */

typedef struct {
    const float *maps; /* (height, 2, width, colours): gains, then offsets */
    int64_t map_height, map_width, colours;
    int64_t width, height, channels; /* of the picture; channels behind the colours stay */
    int64_t kind;
    float top, high; /* the sample that is 1 in the maps; the largest result, in samples */
} Apply;

typedef struct {
    int32_t left[TILE], right[TILE];
    float share[TILE];
    float upper[2][4 * TILE], lower[2][4 * TILE];
} Wide;

static void widen(const Apply *a, int64_t row, const Wide *w, int64_t count, float (*wide)[4 * TILE]) {
    const int64_t n = a->colours;
    for (int part = 0; part < 2; part++) {
        const float *line = a->maps + (row * 2 + part) * a->map_width * n;
        float *target = wide[part];
        const float scale = part ? a->top : 1;
        if (n == 3) {
            for (int64_t i = 0; i < count; i++) {
                const float *one = line + 3 * w->left[i], *other = line + 3 * w->right[i];
                const float share = w->share[i];
                for (int c = 0; c < 3; c++) target[3 * i + c] = scale * (one[c] + (other[c] - one[c]) * share);
            }
        } else {
            for (int64_t i = 0; i < count; i++)
                for (int64_t c = 0; c < n; c++) {
                    const float one = line[n * w->left[i] + c];
                    const float more = (line[n * w->right[i] + c] - one) * w->share[i];
                    target[n * i + c] = scale * (one + more);
                }
        }
    }
}

/* `through`: the type in which a processor turns many floats into integers at once. */
#define APPLY_ROW(name, type, through, half)                                                              \
    static void name(const Apply *a, const Wide *w, float share, const type *restrict in,                 \
                     type *restrict out, int64_t count) {                                                 \
        const int64_t n = a->colours, all = a->channels;                                                  \
        const float low = 0, high = a->high;                                                              \
        const float *restrict g = w->upper[0], *restrict h = w->lower[0];                                 \
        const float *restrict p = w->upper[1], *restrict q = w->lower[1];                                 \
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
        const int64_t count = a->width - begin < TILE ? a->width - begin : TILE;
        for (int64_t i = 0; i < count; i++) {
            int64_t before;
            locate(begin + i, a->width, a->map_width, &before, w->share + i);
            w->left[i] = (int32_t)before;
            w->right[i] = (int32_t)(before + 1 < a->map_width ? before + 1 : before);
        }
        int64_t current = -1;
        for (int64_t row = 0; row < rows; row++) {
            int64_t above;
            float share;
            locate(first + row, a->height, a->map_height, &above, &share);
            if (above != current) {
                if (current >= 0 && above == current + 1) memcpy(w->upper, w->lower, sizeof w->upper);
                else widen(a, above, w, count, w->upper);
                widen(a, above + 1 < a->map_height ? above + 1 : above, w, count, w->lower);
                current = above;
            }
            const int64_t at = (row * step + begin * a->channels) * bytes;
            const char *from = (const char *)in + at;
            char *to = (char *)out + at;
            if (a->kind == U8) row_u8(a, w, share, (const uint8_t *)from, (uint8_t *)to, count);
            else if (a->kind == U16) row_u16(a, w, share, (const uint16_t *)from, (uint16_t *)to, count);
            else row_f32(a, w, share, (const float *)from, (float *)to, count);
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
            const float *h[SIZE], *r[SIZE];
            for (int k = 0; k < SIZE; k++) {
                h[k] = rows + k * 6 * wide + c * wide;
                r[k] = h[k] + 3 * wide;
            }
            float *sh = sums, *sr = sums + wide, *shh = sums + 2 * wide, *shr = sums + 3 * wide;
            for (int64_t i = 0; i < wide; i++) {
                float a = 0, b = 0, aa = 0, ab = 0;
                for (int k = 0; k < SIZE; k++) {
                    a += h[k][i];
                    b += r[k][i];
                    aa += h[k][i] * h[k][i];
                    ab += h[k][i] * r[k][i];
                }
                sh[i] = a, sr[i] = b, shh[i] = aa, shr[i] = ab;
            }
            for (int k = 0; k < 4; k++) sum_across(sums + k * wide, means + (4 * c + k) * inner, inner, scale);
            float *mh = means + 4 * c * inner, *mr = mh + inner, *mhh = mr + inner, *mhr = mhh + inner;
            for (int64_t i = 0; i < inner; i++) {
                mhh[i] -= mh[i] * mh[i];
                mhr[i] -= mh[i] * mr[i];
            }
        }
        float *fit = found + ((row + MARGIN) % SIZE) * 6 * inner;
        for (int64_t i = 0; i < inner; i++) {
            const float *m = means + i;
            const float variances = m[2 * inner] + m[6 * inner] + m[10 * inner];
            const float covariances = m[3 * inner] + m[7 * inner] + m[11 * inner];
            const float pull = epsilon * ((covariances + epsilon) / (variances + epsilon));
            for (int c = 0; c < 3; c++) {
                const float *own_means = m + 4 * c * inner;
                const float gain = (own_means[3 * inner] + pull) / (own_means[2 * inner] + epsilon);
                fit[2 * c * inner + i] = gain;
                fit[(2 * c + 1) * inner + i] = own_means[inner] - gain * own_means[0];
            }
        }
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
    int32_t left[TILE], right[TILE];
    float share[TILE];
    float upper[6][TILE], lower[6][TILE];
    float red[TILE], green[TILE], blue[TILE]; /* what colour adds to luma */
    float cb[TILE], cr[TILE];                 /* sums of the restored pixels of a row or two */
    float y[TILE];
} Band;

static void widen_planes(const Yuv *v, int64_t row, const Band *b, int64_t count, float (*wide)[TILE]) {
    for (int k = 0; k < 6; k++) {
        const float *line = v->maps + (k * v->map_height + row) * v->map_width;
        for (int64_t i = 0; i < count; i++) {
            const float one = line[b->left[i]];
            wide[k][i] = one + (line[b->right[i]] - one) * b->share[i];
        }
    }
}

static inline float sample(const Yuv *v, int plane, int64_t row, int64_t column) {
    const char *line = (const char *)v->in[plane] + row * v->in_step[plane];
    return v->deep ? ((const uint16_t *)line)[column] : ((const uint8_t *)line)[column];
}

/* One row of luma, count pixels from column begin; adds its colours to the sums. */
static void restore_luma(const Yuv *v, Band *b, float share, int64_t row, int64_t begin, int64_t count) {
    const float kr = v->red, kb = v->blue, kg = 1 - kr - kb;
    const float per = 1 / v->luma, to_cb = v->chroma / (2 * (1 - kb)), to_cr = v->chroma / (2 * (1 - kr));
    const char *line = (const char *)v->in[0] + row * v->in_step[0];
    char *target = (char *)v->out[0] + row * v->out_step[0];
    if (v->deep)
        for (int64_t i = 0; i < count; i++) b->y[i] = ((const uint16_t *)line)[begin + i];
    else
        for (int64_t i = 0; i < count; i++) b->y[i] = ((const uint8_t *)line)[begin + i];
    for (int64_t i = 0; i < count; i++) {
        float value[6];
        for (int k = 0; k < 6; k++) value[k] = b->upper[k][i] + (b->lower[k][i] - b->upper[k][i]) * share;
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
    for (int64_t i = 0; i < count; i++) {
        const int64_t column = (begin + i) >> v->across;
        b->blue[i] = (sample(v, 1, row, column) - middle) * of_blue;
        b->red[i] = (sample(v, 2, row, column) - middle) * of_red;
        b->green[i] = -(kb * b->blue[i] + kr * b->red[i]) / kg;
    }
}

static void put_chroma(const Yuv *v, const float *sums, int plane, int64_t row, int64_t begin, int64_t count,
                       int64_t rows) {
    char *line = (char *)v->out[plane] + row * v->out_step[plane];
    const float middle = (v->top + 1) / 2 + 0.5f;
    const int64_t each = (int64_t)1 << v->across, columns = (count + each - 1) >> v->across;
    for (int64_t i = 0; i < columns; i++) {
        const int64_t last = (i + 1) * each < count ? (i + 1) * each : count;
        float sum = 0;
        for (int64_t k = i * each; k < last; k++) sum += sums[k];
        const float value = clamp(sum / ((last - i * each) * rows) + middle, 0, (float)v->top);
        const int64_t column = (begin >> v->across) + i;
        if (v->deep) ((uint16_t *)line)[column] = (uint16_t)value;
        else ((uint8_t *)line)[column] = (uint8_t)value;
    }
}

/* Rows first ... last of chroma, and the luma that belongs to them. */
int apply_yuv(const Yuv *v, int64_t first, int64_t last) {
    Band *b = malloc(sizeof(Band));
    if (!b) return 1;
    for (int64_t begin = 0; begin < v->width; begin += TILE) {
        const int64_t count = v->width - begin < TILE ? v->width - begin : TILE;
        for (int64_t i = 0; i < count; i++) {
            int64_t before;
            locate(begin + i, v->width, v->map_width, &before, b->share + i);
            b->left[i] = (int32_t)before;
            b->right[i] = (int32_t)(before + 1 < v->map_width ? before + 1 : before);
        }
        int64_t current = -1;
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
                    if (current >= 0 && above == current + 1) memcpy(b->upper, b->lower, sizeof b->upper);
                    else widen_planes(v, above, b, count, b->upper);
                    widen_planes(v, above + 1 < v->map_height ? above + 1 : above, b, count, b->lower);
                    current = above;
                }
                restore_luma(v, b, share, line, begin, count);
            }
            put_chroma(v, b->cb, 1, row, begin, count, bottom - top);
            put_chroma(v, b->cr, 2, row, begin, count, bottom - top);
        }
    }
    free(b);
    return 0;
}
