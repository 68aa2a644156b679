/* The two convolutions of FADE as compiled work; fog_density.py has the same in NumPy.

   To be compiled without contraction and reordering: `blur` has to add its taps in the order in which
   they are written, each product rounded. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { RADIUS = 3, SIZE = 2 * RADIUS + 1, TAPS = 20, BORDER = 10, RUN = 32 };

static int64_t inside(int64_t index, int64_t size) { return index < 0 ? 0 : index < size ? index : size - 1; }

/* `count` neighbours of a row, blurred; `lines`: the rows around it. Sums stay in registers where `count` is known
   to the compiler. */
static inline void blur_run(const double *const *lines, double *found, int64_t count, const double *taps) {
    double sums[RUN] = {0};
    for (int r = 0; r < SIZE; r++)
        for (int c = 0; c < SIZE; c++)
            for (int64_t i = 0; i < count; i++) sums[i] += taps[r * SIZE + c] * lines[r][c + i];
    for (int64_t i = 0; i < count; i++) found[i] = sums[i];
}

/* (height, width) blurred by SIZE x SIZE taps, its border repeated. */
int blur(const double *plane, double *blurred, int64_t height, int64_t width, const double *taps) {
    const int64_t wide = width + 2 * RADIUS;
    double *rows = malloc(sizeof(double) * SIZE * wide);
    if (!rows) return 1;
    for (int64_t row = -2 * RADIUS; row < height; row++) {
        const double *from = plane + inside(row + RADIUS, height) * width;
        double *to = rows + (row + 2 * RADIUS) % SIZE * wide;
        for (int64_t i = 0; i < wide; i++) to[i] = from[inside(i - RADIUS, width)];
        if (row < 0) continue;
        for (int64_t begin = 0; begin < width; begin += RUN) {
            const int64_t count = width - begin < RUN ? width - begin : RUN;
            const double *lines[SIZE];
            for (int r = 0; r < SIZE; r++) lines[r] = rows + (row + r) % SIZE * wide + begin;
            double *found = blurred + row * width + begin;
            if (count == RUN) blur_run(lines, found, RUN, taps);
            else blur_run(lines, found, count, taps);
        }
    }
    free(rows);
    return 0;
}

/* Where sample `index` of a line lies whose outer BORDER samples are repeated as blocks, less the first. */
static int64_t repeated(int64_t index, int64_t size) {
    index -= BORDER - 1;
    return index < 0 ? index + BORDER : index < size ? index : index - BORDER;
}

/* `count` neighbours of a row: the root of the sum of squares of two convolutions, of `line` and of what is below. */
static inline void energy_run(const double *line, const double *const *below, double *found, int64_t count,
                              const double *taps) {
    double across[RUN] = {0}, down[RUN] = {0};
    for (int k = 0; k < TAPS; k++) {
        const double tap = taps[TAPS - 1 - k];
        for (int64_t i = 0; i < count; i++) across[i] += tap * line[k + i];
        for (int64_t i = 0; i < count; i++) down[i] += tap * below[k][i];
    }
    for (int64_t i = 0; i < count; i++) found[i] = sqrt(across[i] * across[i] + down[i] * down[i]);
}

/* Of (height, width): the root of the sum of squares of two convolutions, along the rows and down. */
int energy(const double *plane, double *found, int64_t height, int64_t width, const double *taps) {
    double *line = malloc(sizeof(double) * (width + TAPS - 1));
    if (!line) return 1;
    for (int64_t row = 0; row < height; row++) {
        for (int64_t i = 0; i < width + TAPS - 1; i++) line[i] = plane[row * width + repeated(i, width)];
        for (int64_t begin = 0; begin < width; begin += RUN) {
            const int64_t count = width - begin < RUN ? width - begin : RUN;
            const double *below[TAPS];
            for (int k = 0; k < TAPS; k++) below[k] = plane + repeated(row + k, height) * width + begin;
            if (count == RUN) energy_run(line + begin, below, found + row * width + begin, RUN, taps);
            else energy_run(line + begin, below, found + row * width + begin, count, taps);
        }
    }
    free(line);
    return 0;
}
