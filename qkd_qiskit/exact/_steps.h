/* The mathematics of _kernel.c: programs of small linear maps on columns of vectors, forward and adjoint, in one call each.
 *
 * A program works on buffers of `rows` rows and W columns (samples, observables or basis states), one after the other
 * in an arena. With two planes a buffer holds the real parts above the imaginary ones. Every step reads buffers
 * and writes a new one, so the arena is the tape; on the way back gradients (d/dRe + i d/dIm) take the place of values.
 *
 *   LOAD   out = a constant column                                                   [0, out, rows, data]
 *   MATRIX out = (1 x M x 1) in, M of dim x dim on the axis after `left`             [1, in, out, left, dim, right, data, parts]
 *   ORDER  out[i] = in[source[i]]                                                    [2, in, out, rows, source...]
 *   JOIN   out[a, b] = first[a] second[b]                                            [3, in, other, out, a, b, spare]
 *   TURN   (A, B) = (cos A - sin B, sin A + cos B) for pairs of rows, several turns  [4, in, out, rows, turns,
 *          and each turn: left, pitch, count, A, B, angle, sampled, sign]
 *
 * A TURN is RZ: the pair is X and Y of a Pauli vector, real and imaginary part of the amplitudes with a 1.
 * No fast-math: sums are merely taken in another order.
 */
#include <string.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define FOR_EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_CPU
#endif
#define INLINE static inline __attribute__((always_inline))

typedef long long i64;
typedef double v8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef double v4 __attribute__((vector_size(32), aligned(8), may_alias));
enum { LOAD, MATRIX, ORDER, JOIN, TURN, END };
enum { TILE = 16 };

/* ---- products of matrices ------------------------------------------------------------------------------------- */

/* R rows of y (+-)= m x, in columns of V times 8 (or of 4 if V is 0). */
INLINE void block(const int R, const int V, double *y, const double *m, i64 rs, i64 cs, const double *x, i64 in, i64 C,
                  int mode)
{
    if (V == 0) {
        v4 sum[4] = {{0}};
        for (i64 k = 0; k < in; k++)
            for (int r = 0; r < R; r++) sum[r] += m[r * rs + k * cs] * *(const v4 *)(x + k * C);
        for (int r = 0; r < R; r++) {
            v4 *to = (v4 *)(y + r * C);
            if (mode > 0) sum[r] += *to;
            if (mode < 0) sum[r] = *to - sum[r];
            *to = sum[r];
        }
        return;
    }
    v8 sum[4][2] = {{{0}}};
    for (i64 k = 0; k < in; k++)
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) sum[r][v] += m[r * rs + k * cs] * *(const v8 *)(x + k * C + 8 * v);
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) {
            v8 *to = (v8 *)(y + r * C + 8 * v);
            if (mode > 0) sum[r][v] += *to;
            if (mode < 0) sum[r][v] = *to - sum[r][v];
            *to = sum[r][v];
        }
}

INLINE void rows_of(const int R, double *y, const double *m, i64 rs, i64 cs, const double *x, i64 in, i64 C, int mode)
{
    i64 c = 0;
    for (; c + 16 <= C; c += 16) block(R, 2, y + c, m, rs, cs, x + c, in, C, mode);
    for (; c + 8 <= C; c += 8) block(R, 1, y + c, m, rs, cs, x + c, in, C, mode);
    for (; c + 4 <= C; c += 4) block(R, 0, y + c, m, rs, cs, x + c, in, C, mode);
    for (; c < C; c++)
        for (int r = 0; r < R; r++) {
            double sum = 0;
            for (i64 k = 0; k < in; k++) sum += m[r * rs + k * cs] * x[k * C + c];
            y[r * C + c] = mode == 0 ? sum : mode > 0 ? y[r * C + c] + sum : y[r * C + c] - sum;
        }
}

/* y (out, C) = m x for mode 0, += for 1, -= for -1; m[i, k] is at m[i rs + k cs], x has shape (in, C). */
FOR_EACH_CPU static void product(double *y, const double *m, i64 rs, i64 cs, const double *x, i64 out, i64 in, i64 C,
                                 int mode)
{
    i64 i = 0;
    for (; i + 4 <= out; i += 4) rows_of(4, y + i * C, m + i * rs, rs, cs, x, in, C, mode);
    for (; i + 2 <= out; i += 2) rows_of(2, y + i * C, m + i * rs, rs, cs, x, in, C, mode);
    for (; i < out; i++) rows_of(1, y + i * C, m + i * rs, rs, cs, x, in, C, mode);
}

/* Complex y = m x, or y = m^dagger x, with planes apart; a part of m that is NULL is zero. `far` leads to a vector's
 * imaginary plane; it is 0 for a real vector: x is taken as real, of y only the real part is wanted. */
static void complex_product(double *y, i64 y_far, const double *re, const double *im, int adjoint, const double *x,
                            i64 x_far, i64 out, i64 in, i64 C)
{
    i64 rs = adjoint ? 1 : in, cs = adjoint ? out : 1;
    int plus = adjoint ? -1 : 1;
    if (re) product(y, re, rs, cs, x, out, in, C, 0);
    if (re && x_far && y_far) product(y + y_far, re, rs, cs, x + x_far, out, in, C, 0);
    if (!im) return;
    if (!re) memset(y, 0, out * C * sizeof *y);
    if (x_far) product(y, im, rs, cs, x + x_far, out, in, C, -plus);
    if (y_far && !(re && x_far)) memset(y + y_far, 0, out * C * sizeof *y);
    if (y_far) product(y + y_far, im, rs, cs, x, out, in, C, plus);
}

/* sums[i, k] += sign * sum over c of a[i, c] b[k, c]. */
FOR_EACH_CPU static void outer(double *sums, const double *a, const double *b, i64 rows, i64 columns, i64 C, double sign)
{
    for (i64 i = 0; i < rows; i++) {
        i64 k = 0, whole = C - C % 4;
        for (; k + 4 <= columns; k += 4) {
            v4 s[4] = {{0}}, rest = {0};
            for (i64 c = 0; c < whole; c += 4)
                for (int j = 0; j < 4; j++) s[j] += *(const v4 *)(a + i * C + c) * *(const v4 *)(b + (k + j) * C + c);
            for (i64 c = whole; c < C; c++)
                for (int j = 0; j < 4; j++) rest[j] += a[i * C + c] * b[(k + j) * C + c];
            v4 low = __builtin_shufflevector(s[0], s[1], 0, 4, 2, 6) + __builtin_shufflevector(s[0], s[1], 1, 5, 3, 7);
            v4 high = __builtin_shufflevector(s[2], s[3], 0, 4, 2, 6) + __builtin_shufflevector(s[2], s[3], 1, 5, 3, 7);
            rest += __builtin_shufflevector(low, high, 0, 1, 4, 5) + __builtin_shufflevector(low, high, 2, 3, 6, 7);
            *(v4 *)(sums + i * columns + k) += sign * rest;
        }
        for (; k < columns; k++) {
            double sum = 0;
            for (i64 c = 0; c < C; c++) sum += a[i * C + c] * b[k * C + c];
            sums[i * columns + k] += sign * sum;
        }
    }
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

/* Cosines and sines, own ones (A, N) from a first sample on and shared ones (B,), and the gradients of the angles. */
typedef struct {
    const double *own_cos, *own_sin, *cos, *sin;
    double *own_slopes, *slopes;
    i64 samples;
} Angles;

FOR_EACH_CPU static void turn(double *v, const i64 *t, const Angles *g, i64 W, double way)
{
    double c[TILE], s[TILE];
    i64 left = t[0], pitch = t[1], count = t[2] * W;
    const double sign = way * t[7];
    if (t[6]) {
        memcpy(c, g->own_cos + t[5] * g->samples, W * sizeof *c);
        for (i64 w = 0; w < W; w++) s[w] = sign * g->own_sin[t[5] * g->samples + w];
    }
    const double c1 = t[6] ? 0 : g->cos[t[5]], s1 = t[6] ? 0 : sign * g->sin[t[5]];
    for (i64 l = 0; l < left; l++) {
        double *restrict a = v + (l * pitch + t[3]) * W, *restrict b = v + (l * pitch + t[4]) * W;
        if (!t[6]) {
            for (i64 k = 0; k < count; k++) {
                double x = a[k], y = b[k];
                a[k] = c1 * x - s1 * y;
                b[k] = s1 * x + c1 * y;
            }
            continue;
        }
        for (i64 r = 0; r < count; r += W)
            for (i64 w = 0; w < W; w++) {
                double x = a[r + w], y = b[r + w];
                a[r + w] = c[w] * x - s[w] * y;
                b[r + w] = s[w] * x + c[w] * y;
            }
    }
}

/* Add a turn's gradient, from vectors before it and their gradient: sum of g_B v_A - g_A v_B (turns commute). */
FOR_EACH_CPU static void turn_slope(const double *g, const double *v, const i64 *t, const Angles *angles, i64 W)
{
    double sums[2 * TILE] = {0};
    i64 count = t[2] * W, step = t[6] ? W : 8;
    for (i64 l = 0; l < t[0]; l++) {
        const double *ga = g + (l * t[1] + t[3]) * W, *gb = g + (l * t[1] + t[4]) * W;
        const double *va = v + (l * t[1] + t[3]) * W, *vb = v + (l * t[1] + t[4]) * W;
        i64 r = 0;
        for (; r + step <= count; r += step)
            for (i64 w = 0; w < step; w++) sums[w] += gb[r + w] * va[r + w] - ga[r + w] * vb[r + w];
        for (i64 w = 0; r + w < count; w++) sums[w] += gb[r + w] * va[r + w] - ga[r + w] * vb[r + w];
    }
    for (i64 w = 0; w < step; w++) *(t[6] ? angles->own_slopes + t[5] * angles->samples + w : angles->slopes + t[5]) += t[7] * sums[w];
}

FOR_EACH_CPU static void join(double *out, const double *a, const double *b, i64 na, i64 nb, i64 W, int planes)
{
    i64 far = na * nb * W, fa = na * W, fb = nb * W;
    for (i64 i = 0; i < na; i++)
        for (i64 k = 0; k < nb; k++)
            for (i64 w = 0; w < W; w++) {
                i64 o = (i * nb + k) * W + w, x = i * W + w, y = k * W + w;
                out[o] = planes == 1 ? a[x] * b[y] : a[x] * b[y] - a[x + fa] * b[y + fb];
                if (planes == 2) out[o + far] = a[x] * b[y + fb] + a[x + fa] * b[y];
            }
}

/* Gradients of both factors; that of the first goes by way of `spare`, since both values are needed. */
FOR_EACH_CPU static void split(const double *g, double *a, double *b, double *spare, i64 na, i64 nb, i64 W, int planes)
{
    i64 far = na * nb * W, fa = na * W, fb = nb * W;
    double *second = spare + planes * fa;
    memset(spare, 0, planes * (fa + fb) * sizeof *spare);
    for (i64 i = 0; i < na; i++)
        for (i64 k = 0; k < nb; k++)
            for (i64 w = 0; w < W; w++) {
                i64 o = (i * nb + k) * W + w, x = i * W + w, y = k * W + w;
                spare[x] += g[o] * b[y];
                second[y] += g[o] * a[x];
                if (planes == 1) continue;
                spare[x] += g[o + far] * b[y + fb];
                spare[x + fa] += g[o + far] * b[y] - g[o] * b[y + fb];
                second[y] += g[o + far] * a[x + fa];
                second[y + fb] += g[o + far] * a[x] - g[o] * a[x + fa];
            }
    memcpy(a, spare, planes * fa * sizeof *a);
    memcpy(b, second, planes * fb * sizeof *b);
}

static void matrix(const i64 *p, const double *data, double *arena, i64 W, int planes, int adjoint)
{
    i64 d = p[4], C = p[5] * W, far = planes == 2 ? p[3] * d * C : 0;
    double *to = arena + p[adjoint ? 1 : 2] * W;
    const double *from = arena + p[adjoint ? 2 : 1] * W, *re = data + p[6], *im = re + d * d;
    for (i64 l = 0; l < p[3]; l++)
        complex_product(to + l * d * C, far, p[7] & 1 ? re : NULL, p[7] & 2 ? im : NULL, adjoint, from + l * d * C, far, d, d, C);
}

static i64 length(const i64 *p)
{
    return p[0] == LOAD ? 4 : p[0] == MATRIX ? 8 : p[0] == ORDER ? 4 + p[3] : p[0] == JOIN ? 7 : 5 + 8 * p[4];
}

static void forward(const i64 *p, const double *data, double *arena, i64 W, int planes, const Angles *angles)
{
    for (; p[0] != END; p += length(p)) {
        if (p[0] == LOAD) {
            for (i64 r = 0; r < p[2] * planes; r++)
                for (i64 w = 0; w < W; w++) arena[(p[1] + r) * W + w] = data[p[3] + r];
        } else if (p[0] == MATRIX) {
            matrix(p, data, arena, W, planes, 0);
        } else if (p[0] == ORDER) {
            for (i64 r = 0; r < p[3]; r++) memcpy(arena + (p[2] + r) * W, arena + (p[1] + p[4 + r]) * W, W * sizeof *arena);
        } else if (p[0] == JOIN) {
            join(arena + p[3] * W, arena + p[1] * W, arena + p[2] * W, p[4], p[5], W, planes);
        } else {
            memcpy(arena + p[2] * W, arena + p[1] * W, p[3] * W * sizeof *arena);
            for (i64 k = 0; k < p[4]; k++) turn(arena + p[2] * W, p + 5 + 8 * k, angles, W, 1.0);
        }
    }
}

/* Programs end with END and a list of where their steps start, the last step first, closed by -1. */
static void backward(const i64 *code, const double *data, double *arena, i64 W, int planes, const Angles *angles)
{
    const i64 *end = code, *p;
    while (end[0] != END) end += length(end);
    for (end++; *end >= 0; end++) {
        p = code + *end;
        if (p[0] == MATRIX) {
            matrix(p, data, arena, W, planes, 1);
        } else if (p[0] == ORDER) {
            for (i64 r = 0; r < p[3]; r++) memcpy(arena + (p[1] + p[4 + r]) * W, arena + (p[2] + r) * W, W * sizeof *arena);
        } else if (p[0] == JOIN) {
            split(arena + p[3] * W, arena + p[1] * W, arena + p[2] * W, arena + p[6] * W, p[4], p[5], W, planes);
        } else if (p[0] == TURN) {
            double *slope = arena + p[2] * W, *before = arena + p[1] * W;
            for (i64 k = 0; k < p[4]; k++) turn(slope, p + 5 + 8 * k, angles, W, -1.0);
            for (i64 k = 0; k < p[4]; k++) turn_slope(slope, before, p + 5 + 8 * k, angles, W);
            memcpy(before, slope, p[3] * W * sizeof *before);
        }
    }
}

