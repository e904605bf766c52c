/* The mathematics of _kernel.c: programs of small linear maps on columns of vectors, forward and adjoint, in one call each.
 *
 * A program works on an arena of rows of W columns (samples, observables or basis states; W is a multiple of 4). A vector
 * is any list of rows; what is always zero has none, a permutation is another list. With two planes the imaginary parts
 * are rows of their own, and a complex matrix is a real one of twice the size. Every step writes rows that it doesn't
 * read, so the arena is the tape; on the way back gradients (d/dRe + i d/dIm) take the place of values. Each step is its
 * number, its length and
 *
 *   LOAD   constant rows                                                    [n, data, rows...]
 *   MATRIX out = M in, by blocks of rows that need the same columns         [where the transpose is, blocks, its blocks]
 *          blocks: number of classes, and each class: how often, groups, (out, in) shifts..., and each group:
 *          rows, columns, data, rows..., columns...
 *   ORDER  copied to where they are in a row                                [n, m, out, in... (-1: zero), m unused in...]
 *   JOIN   out[a, b] = first[a] second[b]                                   [na, nb, planes, spare, first..., second..., out...]
 *   TURN   (A, B) = (cos A - sin B, sin A + cos B) for pairs of rows        [turn = angle, sampled, sign, n, A..., B...,
 *                                                                            out A..., out B...]
 *   TURNS  several turns of copied rows                                     [n, turns, in..., out..., turn...]
 *
 * A turn is RZ: the pair is X and Y of a Pauli vector, real and imaginary part of the amplitudes with a 1.
 * No fast-math: sums are merely taken in another order.
 */
#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define FOR_EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_CPU
#endif
#define INLINE static inline __attribute__((always_inline))

typedef long long i64;
typedef double v8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef long long l8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef double v4 __attribute__((vector_size(32), aligned(8), may_alias));
enum { LOAD, MATRIX, ORDER, JOIN, TURN, TURNS, END };
enum { TILE = 16, LARGE_ANGLE = 100000 };

/* ---- products of matrices ------------------------------------------------------------------------------------- */

/* Row k of a vector: the k-th of a list of rows, or simply row k. */
INLINE i64 row(const i64 *list, i64 k, i64 shift)
{
    return list ? list[k] + shift : k;
}

/* R rows of y = m x (+= for mode 1, -= for -1), in columns of V times 8 (of 4 if V is 0); rows may be listed and shifted. */
INLINE void block(const int R, const int V, const int mode, double *y, const i64 *to, i64 y_shift, const double *m, i64 rs,
                  i64 cs, const double *x, const i64 *from, i64 x_shift, i64 in, i64 W)
{
    if (V == 0) {
        v4 sum[4] = {{0}};
        for (i64 k = 0; k < in; k++)
            for (int r = 0; r < R; r++) sum[r] += m[r * rs + k * cs] * *(const v4 *)(x + row(from, k, x_shift) * W);
        for (int r = 0; r < R; r++) {
            v4 *at = (v4 *)(y + row(to, r, y_shift) * W);
            if (mode > 0) sum[r] += *at;
            if (mode < 0) sum[r] = *at - sum[r];
            *at = sum[r];
        }
        return;
    }
    v8 sum[4][2] = {{{0}}};
    for (i64 k = 0; k < in; k++)
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++)
                sum[r][v] += m[r * rs + k * cs] * *(const v8 *)(x + row(from, k, x_shift) * W + 8 * v);
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) {
            v8 *at = (v8 *)(y + row(to, r, y_shift) * W + 8 * v);
            if (mode > 0) sum[r][v] += *at;
            if (mode < 0) sum[r][v] = *at - sum[r][v];
            *at = sum[r][v];
        }
}

INLINE void rows_of(const int R, const int mode, double *y, const i64 *to, i64 y_shift, const double *m, i64 rs, i64 cs,
                    const double *x, const i64 *from, i64 x_shift, i64 in, i64 W)
{
    i64 c = 0;
    for (; c + 16 <= W; c += 16) block(R, 2, mode, y + c, to, y_shift, m, rs, cs, x + c, from, x_shift, in, W);
    for (; c + 8 <= W; c += 8) block(R, 1, mode, y + c, to, y_shift, m, rs, cs, x + c, from, x_shift, in, W);
    for (; c + 4 <= W; c += 4) block(R, 0, mode, y + c, to, y_shift, m, rs, cs, x + c, from, x_shift, in, W);
}

/* y (out, W) = m x (or += or -=); m[i, k] is at m[i rs + k cs], x has shape (in, W); `to` and `from` list the rows of y and x or are NULL. */
FOR_EACH_CPU static void product(double *y, const i64 *to, const double *m, i64 rs, i64 cs, const double *x,
                                 const i64 *from, i64 out, i64 in, i64 W, int mode)
{
    for (i64 i = 0; i < out;) {
        const i64 left = out - i, R = left >= 4 ? 4 : left >= 2 ? 2 : 1;
        const i64 *list = to ? to + i : NULL;
        double *at = to ? y : y + i * W;
        if (R == 4) rows_of(4, mode, at, list, 0, m + i * rs, rs, cs, x, from, 0, in, W);
        else if (R == 2) rows_of(2, mode, at, list, 0, m + i * rs, rs, cs, x, from, 0, in, W);
        else rows_of(1, mode, at, list, 0, m + i * rs, rs, cs, x, from, 0, in, W);
        i += R;
    }
}

/* Complex y = m x, or y = m^dagger x, with planes apart: `far` leads to a vector's imaginary plane; it is 0 for a real
 * vector: x is taken as real, of y only the real part is wanted. */
static void complex_product(double *y, i64 y_far, const double *re, const double *im, int adjoint, const double *x,
                            i64 x_far, i64 size, i64 W)
{
    i64 rs = adjoint ? 1 : size, cs = adjoint ? size : 1;
    int plus = adjoint ? -1 : 1;
    product(y, NULL, re, rs, cs, x, NULL, size, size, W, 0);
    if (x_far) product(y, NULL, im, rs, cs, x + x_far, NULL, size, size, W, -plus);
    if (!y_far) return;
    if (x_far) product(y + y_far, NULL, re, rs, cs, x + x_far, NULL, size, size, W, 0);
    product(y + y_far, NULL, im, rs, cs, x, NULL, size, size, W, x_far ? plus : 0);
}

/* The blocks of a constant matrix or of its transpose. */
FOR_EACH_CPU static void apply(const i64 *q, const double *data, double *arena, i64 W)
{
    i64 classes = *q++;
    while (classes--) {
        const i64 times = q[0], groups = q[1], *shift = q + 2, *first = shift + 2 * times, *g = first;
        for (i64 t = 0; t < times; t++, shift += 2) {
            g = first;
            for (i64 k = 0; k < groups; k++) {
                const i64 R = g[0], in = g[1], *to = g + 3, *from = to + R;
                const double *m = data + g[2];
                if (R == 4) rows_of(4, 0, arena, to, shift[0], m, 1, 4, arena, from, shift[1], in, W);
                else if (R == 2) rows_of(2, 0, arena, to, shift[0], m, 1, 2, arena, from, shift[1], in, W);
                else rows_of(1, 0, arena, to, shift[0], m, 1, 1, arena, from, shift[1], in, W);
                g = from + in;
            }
        }
        q = g;
    }
}

/* sums[i, k] += sign * sum over c of a[i, c] b[k, c], the rows of b listed or not; columns and W are multiples of 4. */
FOR_EACH_CPU static void outer(double *sums, const double *a, const i64 *list, const double *b, i64 rows, i64 columns,
                               i64 W, double sign)
{
    for (i64 i = 0; i < rows; i++) {
        const double *at = a + row(list, i, 0) * W;
        for (i64 k = 0; k < columns; k += 4) {
            v4 s[4] = {{0}};
            for (i64 c = 0; c < W; c += 4)
                for (int j = 0; j < 4; j++) s[j] += *(const v4 *)(at + c) * *(const v4 *)(b + (k + j) * W + c);
            v4 low = __builtin_shufflevector(s[0], s[1], 0, 4, 2, 6) + __builtin_shufflevector(s[0], s[1], 1, 5, 3, 7);
            v4 high = __builtin_shufflevector(s[2], s[3], 0, 4, 2, 6) + __builtin_shufflevector(s[2], s[3], 1, 5, 3, 7);
            v4 sum = __builtin_shufflevector(low, high, 0, 1, 4, 5) + __builtin_shufflevector(low, high, 2, 3, 6, 7);
            *(v4 *)(sums + i * columns + k) += sign * sum;
        }
    }
}

/* ---- angles --------------------------------------------------------------------------------------------------- */

/* Affine functions of inputs and weights: of each the number of terms and their columns; offset and slopes. */
typedef struct {
    const i64 *index;
    const double *numbers;
} Affine;

/* Cosines and sines: the angle is reduced to a quarter turn (pi/2 in three parts, of which the first two have 33 bits, so
 * that their multiples are exact: Cody and Waite, Software Manual for the Elementary Functions, ch. 8), then Taylor's series. */
INLINE void sincos8(v8 *cos_, v8 *sin_)
{
    const double shift = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer, which is then in the lowest bits */
    v8 x = *cos_, q = x * 0.63661977236758134308 + shift, t = q - shift;
    v8 r = x - t * 0x1.921fb544p+0 - t * 0x1.0b4611a6p-34 - t * 0x1.3198a2e037073p-69, z = r * r;
    v8 s = 1.0 / 6227020800 + z * (-1.0 / 1307674368000 + z * (1.0 / 355687428096000));
    v8 c = 1.0 / 479001600 + z * (-1.0 / 87178291200 + z * (1.0 / 20922789888000));
    s = -1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 + z * (-1.0 / 39916800 + z * s))));
    c = 1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + z * (-1.0 / 3628800 + z * c)));
    s = r + r * z * s;
    c = 1.0 - (0.5 * z - z * z * c);
    l8 turns = (l8)q, odd = (turns & 1) != 0;
    *sin_ = (v8)((((l8)c & odd) | ((l8)s & ~odd)) ^ ((turns & 2) << 62));
    *cos_ = (v8)((((l8)s & odd) | ((l8)c & ~odd)) ^ (((turns + 1) & 2) << 62));
}

/* Replace angles by their cosines, and give their sines. */
FOR_EACH_CPU static void sincos_of(double *cos_, double *sin_, i64 n)
{
    for (i64 k = 0; k < n; k += 8) {
        double part[2][8] = {{0}};
        const i64 count = n - k < 8 ? n - k : 8;
        int small = 1;
        for (i64 j = 0; j < count; j++) part[0][j] = cos_[k + j], small &= fabs(part[0][j]) < LARGE_ANGLE;
        if (small) sincos8((v8 *)part[0], (v8 *)part[1]);
        else
            for (i64 j = 0; j < count; j++) part[1][j] = sin(part[0][j]), part[0][j] = cos(part[0][j]);
        memcpy(cos_ + k, part[0], count * sizeof *cos_);
        memcpy(sin_ + k, part[1], count * sizeof *sin_);
    }
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

/* Cosines and sines, own ones (A, TILE) and shared ones (B,), and the gradients of the angles. */
typedef struct {
    const double *own_cos, *own_sin, *cos, *sin;
    double *own_slopes, *slopes;
} Angles;

enum { TURN_HEAD = 4 };

/* One turn from rows to rows, or in place if `in_place`. */
FOR_EACH_CPU static void turn(double *arena, const i64 *t, const Angles *g, i64 W, int in_place, double way)
{
    const i64 n = t[3], *a = t + TURN_HEAD + (in_place ? 2 * n : 0), *b = a + n, *x = t + TURN_HEAD + 2 * n, *y = x + n;
    const double sign = way * (double)t[2];
    if (t[1]) {
        const v8 *c = (const v8 *)(g->own_cos + t[0] * TILE), *s = (const v8 *)(g->own_sin + t[0] * TILE);
        for (i64 k = 0; k < n; k++)
            for (int v = 0; v < 2; v++) {
                v8 A = *(v8 *)(arena + a[k] * TILE + 8 * v), B = *(v8 *)(arena + b[k] * TILE + 8 * v), S = sign * s[v];
                *(v8 *)(arena + x[k] * TILE + 8 * v) = c[v] * A - S * B;
                *(v8 *)(arena + y[k] * TILE + 8 * v) = S * A + c[v] * B;
            }
        return;
    }
    const double c = g->cos[t[0]], s = sign * g->sin[t[0]];
    for (i64 k = 0; k < n; k++)
        for (i64 w = 0; w < W; w += 4) {
            v4 A = *(v4 *)(arena + a[k] * W + w), B = *(v4 *)(arena + b[k] * W + w);
            *(v4 *)(arena + x[k] * W + w) = c * A - s * B;
            *(v4 *)(arena + y[k] * W + w) = s * A + c * B;
        }
}

/* Add a turn's gradient, from vectors before it and their gradient g: sum of g_B v_A - g_A v_B (turns commute). With
 * `back` the gradient is turned back first and takes the place of the vectors. */
INLINE void slope_of(double *arena, const i64 *t, const Angles *g, i64 W, const int back)
{
    const i64 n = t[3], *a = t + TURN_HEAD, *b = a + n, *x = b + n, *y = x + n;
    const double sign = (double)t[2];
    if (t[1]) {
        const v8 *c = (const v8 *)(g->own_cos + t[0] * TILE), *s = (const v8 *)(g->own_sin + t[0] * TILE);
        v8 sum[2] = {{0}};
        for (i64 k = 0; k < n; k++)
            for (int v = 0; v < 2; v++) {
                v8 *A = (v8 *)(arena + a[k] * TILE + 8 * v), *B = (v8 *)(arena + b[k] * TILE + 8 * v);
                v8 X = *(v8 *)(arena + x[k] * TILE + 8 * v), Y = *(v8 *)(arena + y[k] * TILE + 8 * v), S = sign * s[v];
                v8 ga = X, gb = Y;
                if (back) ga = c[v] * X + S * Y, gb = c[v] * Y - S * X;
                sum[v] += gb * *A - ga * *B;
                if (back) *A = ga, *B = gb;
            }
        for (int v = 0; v < 2; v++) *(v8 *)(g->own_slopes + t[0] * TILE + 8 * v) += sign * sum[v];
        return;
    }
    const double c = g->cos[t[0]], s = sign * g->sin[t[0]];
    v4 sum = {0};
    for (i64 k = 0; k < n; k++)
        for (i64 w = 0; w < W; w += 4) {
            v4 *A = (v4 *)(arena + a[k] * W + w), *B = (v4 *)(arena + b[k] * W + w);
            v4 X = *(v4 *)(arena + x[k] * W + w), Y = *(v4 *)(arena + y[k] * W + w);
            v4 ga = X, gb = Y;
            if (back) ga = c * X + s * Y, gb = c * Y - s * X;
            sum += gb * *A - ga * *B;
            if (back) *A = ga, *B = gb;
        }
    g->slopes[t[0]] += sign * (sum[0] + sum[1] + sum[2] + sum[3]);
}

FOR_EACH_CPU static void turn_back(double *arena, const i64 *t, const Angles *g, i64 W)
{
    slope_of(arena, t, g, W, 1);
}

FOR_EACH_CPU static void turn_slope(double *arena, const i64 *t, const Angles *g, i64 W)
{
    slope_of(arena, t, g, W, 0);
}

FOR_EACH_CPU static void join(double *arena, const i64 *p, i64 W)
{
    const i64 na = p[2], nb = p[3], *first = p + 6, *second = first + na * p[4], *out = second + nb * p[4];
    for (i64 i = 0; i < na; i++)
        for (i64 k = 0; k < nb; k++)
            for (i64 w = 0; w < W; w += 4) {
                v4 a = *(v4 *)(arena + first[i] * W + w), b = *(v4 *)(arena + second[k] * W + w);
                double *to = arena + out[i * nb + k] * W + w;
                if (p[4] == 1) {
                    *(v4 *)to = a * b;
                    continue;
                }
                v4 c = *(v4 *)(arena + first[i + na] * W + w), d = *(v4 *)(arena + second[k + nb] * W + w);
                *(v4 *)to = a * b - c * d;
                *(v4 *)(arena + out[na * nb + i * nb + k] * W + w) = a * d + c * b;
            }
}

/* Gradients of both factors; they go by way of `spare`, since both values are needed. */
FOR_EACH_CPU static void split(double *arena, const i64 *p, i64 W)
{
    const i64 na = p[2], nb = p[3], planes = p[4], *first = p + 6, *second = first + na * planes, *out = second + nb * planes;
    double *ga = arena + p[5] * W, *gb = ga + planes * na * W;
    memset(gb, 0, planes * nb * W * sizeof *gb);
    for (i64 i = 0; i < na; i++)
        for (i64 w = 0; w < W; w += 4) {
            v4 re = {0}, im = {0}, a = *(v4 *)(arena + first[i] * W + w);
            v4 c = *(v4 *)(arena + first[planes == 2 ? i + na : i] * W + w);
            for (i64 k = 0; k < nb; k++) {
                v4 g = *(v4 *)(arena + out[i * nb + k] * W + w), b = *(v4 *)(arena + second[k] * W + w);
                v4 *to = (v4 *)(gb + k * W + w);
                re += g * b;
                *to += g * a;
                if (planes == 1) continue;
                v4 h = *(v4 *)(arena + out[na * nb + i * nb + k] * W + w), d = *(v4 *)(arena + second[k + nb] * W + w);
                re += h * d;
                im += h * b - g * d;
                *to += h * c;
                *(v4 *)(gb + (k + nb) * W + w) += h * a - g * c;
            }
            *(v4 *)(ga + i * W + w) = re;
            if (planes == 2) *(v4 *)(ga + (i + na) * W + w) = im;
        }
    for (i64 i = 0; i < planes * na; i++) memcpy(arena + first[i] * W, ga + i * W, W * sizeof *ga);
    for (i64 k = 0; k < planes * nb; k++) memcpy(arena + second[k] * W, gb + k * W, W * sizeof *gb);
}

INLINE i64 turn_length(const i64 *t)
{
    return TURN_HEAD + 4 * t[3];
}

INLINE void copy_rows(double *arena, const i64 *from, const i64 *to, i64 n, i64 W)
{
    for (i64 r = 0; r < n; r++) memcpy(arena + to[r] * W, arena + from[r] * W, W * sizeof *arena);
}

static void forward(const i64 *p, const double *data, double *arena, i64 W, const Angles *angles)
{
    for (; p[0] != END; p += p[1]) {
        if (p[0] == LOAD) {
            for (i64 r = 0; r < p[2]; r++)
                for (i64 w = 0; w < W; w++) arena[p[4 + r] * W + w] = data[p[3] + r];
        } else if (p[0] == MATRIX) {
            apply(p + 3, data, arena, W);
        } else if (p[0] == ORDER) {
            for (i64 r = 0; r < p[2]; r++) {
                double *to = arena + (p[4] + r) * W;
                if (p[5 + r] < 0) memset(to, 0, W * sizeof *to);
                else memcpy(to, arena + p[5 + r] * W, W * sizeof *to);
            }
        } else if (p[0] == JOIN) {
            join(arena, p, W);
        } else if (p[0] == TURN) {
            turn(arena, p + 2, angles, W, 0, 1.0);
        } else {
            const i64 *t = p + 4 + 2 * p[2];
            copy_rows(arena, p + 4, p + 4 + p[2], p[2], W);
            for (i64 k = 0; k < p[3]; k++, t += turn_length(t)) turn(arena, t, angles, W, 1, 1.0);
        }
    }
}

/* Programs end with END and a list of where their steps start, the last step first, closed by -1. */
static void backward(const i64 *code, const double *data, double *arena, i64 W, const Angles *angles)
{
    const i64 *end = code, *p, *t;
    while (end[0] != END) end += end[1];
    for (end++; *end >= 0; end++) {
        p = code + *end;
        if (p[0] == MATRIX) {
            apply(p + p[2], data, arena, W);
        } else if (p[0] == ORDER) {
            for (i64 r = 0; r < p[3]; r++) memset(arena + p[5 + p[2] + r] * W, 0, W * sizeof *arena);
            for (i64 r = 0; r < p[2]; r++)
                if (p[5 + r] >= 0) memcpy(arena + p[5 + r] * W, arena + (p[4] + r) * W, W * sizeof *arena);
        } else if (p[0] == JOIN) {
            split(arena, p, W);
        } else if (p[0] == TURN) {
            turn_back(arena, p + 2, angles, W);
        } else if (p[0] == TURNS) {
            t = p + 4 + 2 * p[2];
            for (i64 k = 0; k < p[3]; k++, t += turn_length(t)) turn(arena, t, angles, W, 1, -1.0);
            t = p + 4 + 2 * p[2];
            for (i64 k = 0; k < p[3]; k++, t += turn_length(t)) turn_slope(arena, t, angles, W);
            copy_rows(arena, p + 4 + p[2], p + 4, p[2], W);
        }
    }
}
