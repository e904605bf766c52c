/* The optional compiled kernel of qkd_qiskit.exact: programs (see _steps.h) run on runs of samples.
 *
 * `evaluate` works out the weights' angles and the operator that all samples share, takes samples, TILE at a time so that
 * all stays in the cache, through the front, the operator and the observables, and all of it back again. Arrays come
 * through the buffer protocol; sizes are the caller's (compiled.py) to keep. The GIL is released meanwhile.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>
#include <string.h>

#include "_steps.h"

enum { ARRAYS = 22, NUMBERS = 5 };

/* The data of `count` arrays, NULL for None; 0 with an exception if one isn't a contiguous buffer. */
static int open_all(PyObject *const *objects, int count, Py_buffer *views)
{
    memset(views, 0, count * sizeof *views);
    for (int k = 0; k < count; k++)
        if (objects[k] != Py_None && PyObject_GetBuffer(objects[k], &views[k], PyBUF_SIMPLE) < 0) {
            while (k--) PyBuffer_Release(&views[k]);
            return 0;
        }
    return 1;
}

static PyObject *close_all(Py_buffer *views, int count, int enough_memory)
{
    for (int k = 0; k < count; k++) PyBuffer_Release(&views[k]);
    if (!enough_memory) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* What a pass is evaluated with; `cotangents` is NULL on the way forward. `rows` lists the state's rows in the arena (`size`
 * of them, as many again imaginary ones). O observables, `width` with those that make it a multiple of 4. `own` and
 * `shared` angles are affine in inputs and weights, or their cosines and sines are given. */
typedef struct {
    const i64 *code, *rows, *tail_code;
    const double *data, *diagonal, *tail_data, *seed;
    Affine own_map, shared_map;
    i64 planes, size, arena_rows, observables, width, own, shared, features, weights;
    i64 tail_width, tail_rows, tail_first, tail_size, seed_rows, amplitudes;

    const double *x, *w, *own_cos, *own_sin, *cotangents, *operator;
    double *cos, *sin, *tail, *values, *own_slopes, *input_grad, *shared_slopes, *operator_slope, *weight_grad;
    i64 samples, need_front;
} Job;

/* Under noise (`diagonal` is NULL) the operator is the observables (size, width) that the Pauli vector meets. */
static void meet_observables(const Job *job, double *arena, double *columns)
{
    i64 size = job->size, O = job->width;
    if (!job->cotangents) {
        product(columns, NULL, job->operator, 1, O, arena, job->rows, O, size, TILE, 0);
        return;
    }
    outer(job->operator_slope, arena, job->rows, columns, size, O, TILE, 1.0);
    if (job->need_front) product(arena, job->rows, job->operator, O, 1, columns, NULL, size, O, TILE, 0);
}

/* Without noise: after = U state (if there is an operator), values = D |after|^2; the state's rows follow each other. */
static void meet_diagonal(const Job *job, double *arena, double *columns, double *spare)
{
    i64 size = job->size, O = job->width, far = size * TILE, state_far = job->planes == 2 ? far : 0;
    const double *re = job->operator, *im = re ? re + size * size : NULL;
    double *state = arena + job->rows[0] * TILE, *after = re ? spare : state, *squares = spare + 2 * far;
    if (re) complex_product(after, far, re, im, 0, state, state_far, size, TILE);
    if (!job->cotangents) {
        for (i64 k = 0; k < far; k++) squares[k] = after[k] * after[k];
        if (re || state_far) for (i64 k = 0; k < far; k++) squares[k] += after[k + far] * after[k + far];
        product(columns, NULL, job->diagonal, size, 1, squares, NULL, O, size, TILE, 0);
        return;
    }
    product(squares, NULL, job->diagonal, 1, size, columns, NULL, size, O, TILE, 0);
    for (i64 k = 0; k < far; k++) after[k] *= 2 * squares[k];
    if (re || state_far) for (i64 k = 0; k < far; k++) after[k + far] *= 2 * squares[k];
    if (!re) return;
    double *slope = job->operator_slope;
    outer(slope, after, NULL, state, size, size, TILE, 1.0);
    outer(slope + size * size, after + far, NULL, state, size, size, TILE, 1.0);
    if (state_far) {
        outer(slope, after + far, NULL, state + far, size, size, TILE, 1.0);
        outer(slope + size * size, after, NULL, state + far, size, size, TILE, -1.0);
    }
    if (job->need_front) complex_product(state, state_far, re, im, 1, after, far, size, TILE);
}

/* Row r of `to` (count, TILE) is W numbers of a sample's own array (count, N) from number `first` on, then zeros. */
static void take_tile(double *to, const double *from, i64 count, i64 samples, i64 first, i64 W)
{
    for (i64 r = 0; r < count; r++) {
        memcpy(to + r * TILE, from + r * samples + first, W * sizeof *to);
        for (i64 w = W; w < TILE; w++) to[r * TILE + w] = 0;
    }
}

/* The same of an array (N, count). */
static void take_columns(double *to, const double *from, i64 count, i64 first, i64 W)
{
    for (i64 r = 0; r < count; r++)
        for (i64 w = 0; w < TILE; w++) to[r * TILE + w] = w < W ? from[(first + w) * count + r] : 0;
}

/* Own angles of a tile: what turns them, from inputs (features, TILE) in `x`. */
static void take_angles(const Job *job, double *cos, double *sin, const double *x)
{
    const i64 *at = job->own_map.index;
    const double *number = job->own_map.numbers;
    for (i64 a = 0; a < job->own; a++) {
        const i64 terms = *at++;
        double *to = cos + a * TILE;
        for (i64 w = 0; w < TILE; w++) to[w] = number[0];
        for (i64 k = 0; k < terms; k++)
            if (at[k] < job->features)
                for (i64 w = 0; w < TILE; w++) to[w] += number[1 + k] * x[at[k] * TILE + w];
            else
                for (i64 w = 0; w < TILE; w++) to[w] += number[1 + k] * job->w[at[k] - job->features];
        at += terms, number += 1 + terms;
    }
    sincos_of(cos, sin, job->own * TILE);
}

/* Take the own angles' gradients to inputs and weights. */
static void give_slopes(const Job *job, const double *slopes, double *x, i64 first, i64 W)
{
    const i64 *at = job->own_map.index, F = job->features;
    const double *number = job->own_map.numbers;
    memset(x, 0, F * TILE * sizeof *x);
    for (i64 a = 0; a < job->own; a++) {
        const i64 terms = *at++;
        const double *slope = slopes + a * TILE;
        for (i64 k = 0; k < terms; k++) {
            double sum = 0;
            if (at[k] < F)
                for (i64 w = 0; w < TILE; w++) x[at[k] * TILE + w] += number[1 + k] * slope[w];
            else {
                for (i64 w = 0; w < W; w++) sum += slope[w];
                job->weight_grad[at[k] - F] += number[1 + k] * sum;
            }
        }
        at += terms, number += 1 + terms;
    }
    for (i64 w = 0; w < W; w++)
        for (i64 f = 0; f < F; f++) job->input_grad[(first + w) * F + f] = x[f * TILE + w];
}

/* W samples from number `first` on. On the way back the front is run again: cheaper than keeping its vectors. */
static void tile(const Job *job, i64 first, i64 W, double *arena)
{
    const i64 size = job->size, O = job->observables, A = job->own;
    double *spare = arena + job->arena_rows * TILE, *columns = spare + 3 * size * TILE;
    double *own = columns + job->width * TILE, *x = own + 3 * A * TILE;
    Angles angles = {own, own + A * TILE, job->cos, job->sin, own + 2 * A * TILE, job->shared_slopes};
    if (job->own_cos) {
        take_tile(own, job->own_cos, A, job->samples, first, W);
        take_tile(own + A * TILE, job->own_sin, A, job->samples, first, W);
    } else if (A) {
        take_columns(x, job->x, job->features, first, W);
        take_angles(job, own, own + A * TILE, x);
    }
    if (job->amplitudes) {
        take_columns(arena, job->x, size, first, W);
        if (job->planes == 2) memset(arena + size * TILE, 0, size * TILE * sizeof *arena);
    }
    forward(job->code, job->data, arena, TILE, &angles);
    if (job->cotangents) {
        take_columns(columns, job->cotangents, O, first, W);
        memset(columns + O * TILE, 0, (job->width - O) * TILE * sizeof *columns);
        memset(angles.own_slopes, 0, A * TILE * sizeof *own);
    }
    if (job->diagonal) meet_diagonal(job, arena, columns, spare);
    else meet_observables(job, arena, columns);
    if (!job->cotangents) {
        for (i64 w = 0; w < W; w++)
            for (i64 o = 0; o < O; o++) job->values[(first + w) * O + o] = columns[o * TILE + w];
        return;
    }
    if (!job->need_front) return;
    backward(job->code, job->data, arena, TILE, &angles);
    if (job->own_slopes)
        for (i64 r = 0; r < A; r++)
            memcpy(job->own_slopes + r * job->samples + first, angles.own_slopes + r * TILE, W * sizeof *own);
    else if (A)
        give_slopes(job, angles.own_slopes, x, first, W);
    if (job->amplitudes)
        for (i64 w = 0; w < W; w++)
            for (i64 r = 0; r < size; r++) job->input_grad[(first + w) * size + r] = arena[r * TILE + w];
}

/* What all samples share: the weights' angles, and the operator that the tail makes. */
static void prepare(const Job *job)
{
    const i64 *at = job->shared_map.index;
    const double *number = job->shared_map.numbers;
    for (i64 b = 0; at && b < job->shared; b++) {
        const i64 terms = *at++;
        double sum = number[0];
        for (i64 k = 0; k < terms; k++) sum += number[1 + k] * job->w[at[k] - job->features];
        job->cos[b] = sum;
        at += terms, number += 1 + terms;
    }
    if (at) sincos_of(job->cos, job->sin, job->shared);
    if (!job->tail_code) return;
    Angles angles = {.cos = job->cos, .sin = job->sin};
    memcpy(job->tail, job->seed, job->seed_rows * job->tail_width * sizeof *job->tail);
    forward(job->tail_code, job->tail_data, job->tail, job->tail_width, &angles);
}

/* Take the gradients of operator and shared angles to the weights. The tail's arena is used up. */
static void finish(const Job *job)
{
    if (job->tail_code) {
        Angles angles = {.cos = job->cos, .sin = job->sin, .slopes = job->shared_slopes};
        memcpy((double *)job->operator, job->operator_slope, job->tail_size * job->tail_width * sizeof *job->tail);
        backward(job->tail_code, job->tail_data, job->tail, job->tail_width, &angles);
    }
    const i64 *at = job->shared_map.index;
    const double *number = job->shared_map.numbers;
    for (i64 b = 0; at && b < job->shared; b++) {
        const i64 terms = *at++;
        for (i64 k = 0; k < terms; k++) job->weight_grad[at[k] - job->features] += number[1 + k] * job->shared_slopes[b];
        at += terms, number += 1 + terms;
    }
}

enum { PREPARE = 1, SAMPLES = 2, FINISH = 4 };

static void *aligned(void *memory)
{
    return (void *)(((size_t)memory + 63) / 64 * 64); /* rows that don't straddle cache lines */
}

/* evaluate(sizes, code, data, rows, diagonal, tail code, tail data, seed, own index, own numbers, shared index,
 *          shared numbers,                                                      the plan, None for what there isn't
 *          x, w, own cos, own sin, scratch, values, cotangents, own slopes, input gradient, slopes,
 *          N, need_front, phases, first, last)
 * scratch holds cos and sin of the shared angles and the tail's arena from the way forward to the way back; slopes are those
 * of shared angles, operator and weights. Angles that aren't affine have no index, and are given. */
static PyObject *evaluate(PyObject *Py_UNUSED(module), PyObject *const *objects, Py_ssize_t count)
{
    Py_buffer v[ARRAYS];
    long n[NUMBERS];
    if (count != ARRAYS + NUMBERS)
        return PyErr_Format(PyExc_TypeError, "evaluate takes %d arguments, not %zd", ARRAYS + NUMBERS, count);
    for (int k = 0; k < NUMBERS; k++) n[k] = PyLong_AsLong(objects[ARRAYS + k]);
    if (PyErr_Occurred() || !open_all(objects, ARRAYS, v)) return NULL;
    const i64 *z = v[0].buf;
    Job job = {
        .code = v[1].buf, .data = v[2].buf, .rows = v[3].buf, .diagonal = v[4].buf, .tail_code = v[5].buf,
        .tail_data = v[6].buf, .seed = v[7].buf, .own_map = {v[8].buf, v[9].buf}, .shared_map = {v[10].buf, v[11].buf},
        .planes = z[0], .size = z[1], .arena_rows = z[2], .observables = z[3], .width = z[4], .own = z[5], .shared = z[6],
        .features = z[7], .weights = z[8], .tail_width = z[9], .tail_rows = z[10], .tail_first = z[11], .tail_size = z[12],
        .seed_rows = z[13], .amplitudes = z[14],
        .x = v[12].buf, .w = v[13].buf, .own_cos = v[14].buf, .own_sin = v[15].buf, .values = v[17].buf,
        .cotangents = v[18].buf, .own_slopes = v[19].buf, .input_grad = v[20].buf, .shared_slopes = v[21].buf,
        .samples = n[0], .need_front = n[1],
    };
    job.cos = v[16].buf, job.sin = job.cos + job.shared, job.tail = aligned(job.sin + job.shared);
    job.operator = job.tail_code ? job.tail + job.tail_first * job.tail_width : NULL;
    if (job.shared_slopes) {
        job.operator_slope = job.shared_slopes + job.shared;
        job.weight_grad = job.operator_slope + job.tail_size * job.tail_width;
    }
    i64 rows = job.arena_rows + 3 * job.size + job.width + 3 * job.own + job.features;
    void *memory = malloc(rows * TILE * sizeof(double) + 64);
    if (memory) {
        Py_BEGIN_ALLOW_THREADS
        if (n[2] & PREPARE) prepare(&job);
        if (n[2] & SAMPLES)
            for (long at = n[3]; at < n[4]; at += TILE) tile(&job, at, n[4] - at < TILE ? n[4] - at : TILE, aligned(memory));
        if (n[2] & FINISH) finish(&job);
        free(memory);
        Py_END_ALLOW_THREADS
    }
    return close_all(v, ARRAYS, memory != NULL);
}

/* total(array): the sum of an array of numbers; NaN or infinite if one of them is. */
static PyObject *total(PyObject *Py_UNUSED(module), PyObject *array)
{
    Py_buffer view;
    if (PyObject_GetBuffer(array, &view, PyBUF_SIMPLE) < 0) return NULL;
    double sums[8] = {0};
    const i64 count = view.len / (i64)sizeof(double);
    for (i64 k = 0; k < count; k++) sums[k % 8] += ((const double *)view.buf)[k];
    PyBuffer_Release(&view);
    for (int k = 1; k < 8; k++) sums[0] += sums[k];
    return PyFloat_FromDouble(sums[0]);
}

static PyMethodDef methods[] = {
    {"evaluate", (PyCFunction)(void (*)(void))evaluate, METH_FASTCALL, "A pass, forward or back, or a part of one."},
    {"total", total, METH_O, "The sum of an array."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernel", "Compiled passes of qkd_qiskit.exact.", -1, methods,
                                    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void)
{
    PyObject *made = PyModule_Create(&module);
    if (made && PyModule_AddIntConstant(made, "FORMAT", 2) < 0) {
        Py_DECREF(made);
        return NULL;
    }
    return made;
}
