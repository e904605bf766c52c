/* The optional compiled kernel of qkd_qiskit.exact: programs (see _steps.h) run on runs of samples.
 *
 * `run` and `back` take one program forward and back; `samples` takes samples, TILE at a time so that all stays in the
 * cache, through the front, the operator that all samples share and the observables, and back again. Arrays come
 * through the buffer protocol; sizes are the caller's (compiled.py) to keep. The GIL is released meanwhile.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>
#include <string.h>

#include "_steps.h"

enum { MOST = 17 };

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

/* A pass of one program: run(code, data, cos, sin, arena, W), back(code, data, cos, sin, arena, slopes of the angles, W). */
static PyObject *one_program(PyObject *const *objects, int arrays)
{
    Py_buffer views[MOST];
    long W = PyLong_AsLong(objects[arrays]);
    if (PyErr_Occurred() || !open_all(objects, arrays, views)) return NULL;
    Angles angles = {.cos = views[2].buf, .sin = views[3].buf, .slopes = arrays > 5 ? views[5].buf : NULL};
    Py_BEGIN_ALLOW_THREADS
    (arrays > 5 ? backward : forward)(views[0].buf, views[1].buf, views[4].buf, W, &angles);
    Py_END_ALLOW_THREADS
    return close_all(views, arrays, 1);
}

static PyObject *run(PyObject *Py_UNUSED(module), PyObject *const *objects, Py_ssize_t count)
{
    if (count != 6) return PyErr_Format(PyExc_TypeError, "run takes 6 arguments, not %zd", count);
    return one_program(objects, 5);
}

static PyObject *back(PyObject *Py_UNUSED(module), PyObject *const *objects, Py_ssize_t count)
{
    if (count != 7) return PyErr_Format(PyExc_TypeError, "back takes 7 arguments, not %zd", count);
    return one_program(objects, 6);
}

/* What a run of samples is evaluated with; `cotangents` is NULL on the way forward. `rows` lists the state's rows in the
 * arena (`size` of them, as many again imaginary ones). O observables, `width` with those that make it a multiple of 4. */
typedef struct {
    const i64 *code, *rows;
    const double *data;
    Angles angles;
    const double *amplitudes, *operator, *diagonal;
    double *values;
    const double *cotangents;
    double *own_slopes, *operator_slope, *amplitude_slope;
    i64 planes, size, arena_rows, observables, width, samples, need_front, own;
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

/* W samples from number `first` on. On the way back the front is run again: cheaper than keeping its vectors. */
static void tile(const Job *job, i64 first, i64 W, double *arena)
{
    i64 size = job->size, O = job->observables;
    double *spare = arena + job->arena_rows * TILE, *columns = spare + 3 * size * TILE;
    double *own = columns + job->width * TILE;
    Angles angles = job->angles;
    if (job->own) {
        take_tile(own, job->angles.own_cos, job->own, job->samples, first, W);
        take_tile(own + job->own * TILE, job->angles.own_sin, job->own, job->samples, first, W);
        angles.own_cos = own, angles.own_sin = own + job->own * TILE, angles.own_slopes = own + 2 * job->own * TILE;
    }
    if (job->amplitudes) {
        take_columns(arena, job->amplitudes, size, first, W);
        if (job->planes == 2) memset(arena + size * TILE, 0, size * TILE * sizeof *arena);
    }
    forward(job->code, job->data, arena, TILE, &angles);
    if (job->cotangents) {
        take_columns(columns, job->cotangents, O, first, W);
        memset(columns + O * TILE, 0, (job->width - O) * TILE * sizeof *columns);
        if (job->own) memset(angles.own_slopes, 0, job->own * TILE * sizeof *own);
    }
    if (job->diagonal) meet_diagonal(job, arena, columns, spare);
    else meet_observables(job, arena, columns);
    if (!job->cotangents) {
        for (i64 o = 0; o < O; o++)
            for (i64 w = 0; w < W; w++) job->values[(first + w) * O + o] = columns[o * TILE + w];
        return;
    }
    if (!job->need_front) return;
    backward(job->code, job->data, arena, TILE, &angles);
    for (i64 r = 0; r < job->own; r++)
        memcpy(job->own_slopes + r * job->samples + first, angles.own_slopes + r * TILE, W * sizeof *own);
    if (job->amplitudes)
        for (i64 r = 0; r < size; r++)
            for (i64 w = 0; w < W; w++) job->amplitude_slope[(first + w) * size + r] = arena[r * TILE + w];
}

/* samples(code, data, own cos, own sin, cos, sin, amplitudes, operator, diagonal, values,
 *         cotangents, own slopes, slopes, operator slope, amplitude slope, rows,
 *         sizes = int64 (planes, size, arena_rows, O, width, N, need_front, own angles), first, last): None for what
 *         there isn't. */
static PyObject *samples(PyObject *Py_UNUSED(module), PyObject *const *objects, Py_ssize_t count)
{
    Py_buffer v[MOST];
    if (count != MOST + 2) return PyErr_Format(PyExc_TypeError, "samples takes %d arguments, not %zd", MOST + 2, count);
    long first = PyLong_AsLong(objects[MOST]), last = PyLong_AsLong(objects[MOST + 1]);
    if (PyErr_Occurred() || !open_all(objects, MOST, v)) return NULL;
    const i64 *sizes = v[16].buf;
    Job job = {
        .code = v[0].buf, .data = v[1].buf, .amplitudes = v[6].buf, .operator = v[7].buf, .diagonal = v[8].buf,
        .values = v[9].buf, .cotangents = v[10].buf, .own_slopes = v[11].buf, .operator_slope = v[13].buf,
        .amplitude_slope = v[14].buf, .rows = v[15].buf,
        .planes = sizes[0], .size = sizes[1], .arena_rows = sizes[2], .observables = sizes[3], .width = sizes[4],
        .samples = sizes[5], .need_front = sizes[6], .own = sizes[7],
        .angles = {v[2].buf, v[3].buf, v[4].buf, v[5].buf, NULL, v[12].buf},
    };
    void *memory = malloc((job.arena_rows + 3 * job.size + job.width + 3 * job.own) * TILE * sizeof(double) + 63);
    if (memory) {
        double *arena = (double *)(((size_t)memory + 63) / 64 * 64); /* rows that don't straddle cache lines */
        Py_BEGIN_ALLOW_THREADS
        for (long at = first; at < last; at += TILE) tile(&job, at, last - at < TILE ? last - at : TILE, arena);
        free(memory);
        Py_END_ALLOW_THREADS
    }
    return close_all(v, MOST, memory != NULL);
}

static PyMethodDef methods[] = {
    {"run", (PyCFunction)(void (*)(void))run, METH_FASTCALL, "Run a program forward in its arena."},
    {"back", (PyCFunction)(void (*)(void))back, METH_FASTCALL, "Take the gradient in the arena back to the angles."},
    {"samples", (PyCFunction)(void (*)(void))samples, METH_FASTCALL, "Values of a run of samples, or their gradients."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernel", "Compiled passes of qkd_qiskit.exact.", -1, methods,
                                    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void)
{
    return PyModule_Create(&module);
}
