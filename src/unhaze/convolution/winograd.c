/* The transforms of Winograd's minimal filtering for 3x3 convolutions on a CPU (Lavin and Gray,
   arXiv:1509.09308): F(2x2, 3x3) for results and F(3x3, 4x4) for the gradient of the kernel.

   Planes are channels-last, (batch, height, width, channels), frequencies (side * side, tiles, channels),
   all of them bfloat16 (the upper half of a float32); channels are a multiple of LANES. Places outside the
   planes are zero. Work is divided among the threads of OpenMP by rows of tiles. */

#include <stdint.h>
#include <string.h>

typedef struct {
    int64_t batch, height, width, channels;
    int64_t rows, columns; /* of tiles */
    int64_t before;        /* places from the begin of the first window to that of the planes */
} Planes;

#define ALWAYS static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 6")
#define LANES 16 /* channels at once */
#define MOST 4096 /* channels */

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));
typedef const float Matrix[6][6];

/* Of windows of 4x4 and 6x6 places, of tiles of 4x4 places, and of 4x4 frequencies to 2x2 places. */
static Matrix windows_of_4 = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}};
static Matrix windows_of_6 = {{1, -1.5, -2, 1.5, 1, 0}, {0, -1, 0.5, 2.5, 1, 0}, {0, 1, -2.5, 0.5, 1, 0},
                             {0, -2, -1, 2, 1, 0},     {0, 0.5, -1, -0.5, 1, 0}, {0, 1, -1.5, -2, 1.5, 1}};
static Matrix tiles_of_4 = {{1, 0, 0, 0}, {1, 1, 1, 1}, {1, -1, 1, -1}, {1, 0.5, 0.25, 0.125}, {1, -2, 4, -8}, {0, 0, 0, 1}};
static Matrix results = {{1, 1, 1, 0}, {0, 1, -1, -1}};

ALWAYS Floats load(const uint16_t *from) {
    Halves halves;
    memcpy(&halves, from, sizeof halves);
    return (Floats)(__builtin_convertvector(halves, Words) << 16);
}

ALWAYS void store(uint16_t *to, Floats values) { /* to nearest, ties to even */
    const Words bits = (Words)values;
    const Halves halves = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, Halves);
    memcpy(to, &halves, sizeof halves);
}

/* Sums of `from`, stride apart, with the factors of one row of a matrix; none is skipped but zeros. */
ALWAYS Floats sum(const float *factors, const Floats *from, int stride, int count) {
    Floats total = {0};
    UNROLLED for (int k = 0; k < count; k++)
        if (factors[k] != 0) total += factors[k] * from[k * stride];
    return total;
}

/* `to` (rows x rows) becomes m from m', with `from` (columns x columns). */
ALWAYS void transform(Matrix m, int rows, int columns, const Floats *from, Floats *to) {
    Floats half[6 * 6];
    UNROLLED for (int y = 0; y < rows; y++)
        UNROLLED for (int x = 0; x < columns; x++) half[y * columns + x] = sum(m[y], from + x, columns, columns);
    UNROLLED for (int y = 0; y < rows; y++)
        UNROLLED for (int x = 0; x < rows; x++) to[y * rows + x] = sum(m[x], half + y * columns, 1, columns);
}

/* Frequencies of windows of `columns` x `columns` places, `step` apart. */
ALWAYS void forward(const Planes *p, const uint16_t *planes, uint16_t *frequencies, Matrix m, int rows,
                    int columns, int step, int64_t row) {
    static const uint16_t zeros[MOST];
    const int64_t stride = p->batch * p->rows * p->columns * p->channels;
    for (int64_t column = 0; column < p->columns; column++) {
        const uint16_t *at[6 * 6];
        for (int place = 0; place < columns * columns; place++) {
            const int64_t y = step * (row % p->rows) - p->before + place / columns;
            const int64_t x = step * column - p->before + place % columns;
            const int inside = y >= 0 && y < p->height && x >= 0 && x < p->width;
            at[place] = inside ? planes + (((row / p->rows) * p->height + y) * p->width + x) * p->channels : zeros;
        }
        uint16_t *to = frequencies + (row * p->columns + column) * p->channels;
        for (int64_t c = 0; c < p->channels; c += LANES) {
            Floats from[6 * 6], made[6 * 6];
            UNROLLED for (int y = 0; y < columns; y++)
                UNROLLED for (int x = 0; x < columns; x++) from[y * columns + x] = load(at[y * columns + x] + c);
            transform(m, rows, columns, from, made);
            UNROLLED for (int y = 0; y < rows; y++)
                UNROLLED for (int x = 0; x < rows; x++) store(to + (y * rows + x) * stride + c, made[y * rows + x]);
        }
    }
}

/* kind: 0 windows of 4x4 places, 1 of 6x6, 2 tiles of 4x4. */
void to_frequencies(const Planes *p, const uint16_t *planes, uint16_t *frequencies, int kind, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < p->batch * p->rows; row++)
        if (kind == 0)
            forward(p, planes, frequencies, windows_of_4, 4, 4, 2, row);
        else if (kind == 1)
            forward(p, planes, frequencies, windows_of_6, 6, 6, 4, row);
        else
            forward(p, planes, frequencies, tiles_of_4, 6, 4, 4, row);
}

/* Planes of the 4x4 frequencies of their tiles of 2x2 places, with the bias added. */
void from_frequencies(const Planes *p, const uint16_t *frequencies, const float *bias, uint16_t *planes,
                      int threads) {
    const int64_t stride = p->batch * p->rows * p->columns * p->channels;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < p->batch * p->rows; row++)
        for (int64_t column = 0; column < p->columns; column++) {
            const uint16_t *from = frequencies + (row * p->columns + column) * p->channels;
            uint16_t outside[LANES], *at[4];
            int64_t step[4];
            for (int place = 0; place < 4; place++) {
                const int64_t y = 2 * (row % p->rows) + place / 2, x = 2 * column + place % 2;
                const int inside = y < p->height && x < p->width;
                at[place] = inside ? planes + (((row / p->rows) * p->height + y) * p->width + x) * p->channels : outside;
                step[place] = inside;
            }
            for (int64_t c = 0; c < p->channels; c += LANES) {
                Floats read[4 * 4], made[2 * 2], added;
                memcpy(&added, bias + c, sizeof added);
                UNROLLED for (int y = 0; y < 4; y++)
                    UNROLLED for (int x = 0; x < 4; x++) read[4 * y + x] = load(from + (4 * y + x) * stride + c);
                transform(results, 2, 4, read, made);
                UNROLLED for (int place = 0; place < 4; place++)
                    store(at[place] + step[place] * c, made[place] + added);
            }
        }
}
