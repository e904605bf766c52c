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

enum { MOST = 16 };

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

/* A pass of one program: run(code, data, cos, sin, arena, planes, W), back(..., slopes of the angles, planes, W). */
static PyObject *one_program(PyObject *const *objects, int arrays)
{
    Py_buffer views[MOST];
    long planes = PyLong_AsLong(objects[arrays]), W = PyLong_AsLong(objects[arrays + 1]);
    if (PyErr_Occurred() || !open_all(objects, arrays, views)) return NULL;
    Angles angles = {.cos = views[2].buf, .sin = views[3].buf, .slopes = arrays > 5 ? views[5].buf : NULL};
    Py_BEGIN_ALLOW_THREADS
    (arrays > 5 ? backward : forward)(views[0].buf, views[1].buf, views[4].buf, W, (int)planes, &angles);
    Py_END_ALLOW_THREADS
    return close_all(views, arrays, 1);
}

static PyObject *run(PyObject *Py_UNUSED(module), PyObject *const *objects, Py_ssize_t count)
{
    if (count != 7) return PyErr_Format(PyExc_TypeError, "run takes 7 arguments, not %zd", count);
    return one_program(objects, 5);
}

static PyObject *back(PyObject *Py_UNUSED(module), PyObject *const *objects, Py_ssize_t count)
{
    if (count != 8) return PyErr_Format(PyExc_TypeError, "back takes 8 arguments, not %zd", count);
    return one_program(objects, 6);
}

/* What a run of samples is evaluated with; `cotangents` is NULL on the way forward. */
typedef struct {
    const i64 *code;
    const double *data;
    Angles angles;
    const double *amplitudes, *operator, *diagonal;
    double *values;
    const double *cotangents;
    double *operator_slope, *amplitude_slope;
    i64 planes, size, final, arena_rows, observables, need_front;
} Job;

/* Under noise (`diagonal` is NULL) the operator is the observables (size, O) that the Pauli vector meets. */
static void meet_observables(const Job *job, double *state, double *values, const double *cotangents, i64 W)
{
    i64 size = job->size, O = job->observables;
    if (!cotangents) {
        product(values, job->operator, 1, O, state, O, size, W, 0);
        return;
    }
    outer(job->operator_slope, state, cotangents, size, O, W, 1.0);
    if (job->need_front) product(state, job->operator, O, 1, cotangents, size, O, W, 0);
}

/* Without noise: after = U state (if there is an operator), values = D |after|^2. */
static void meet_diagonal(const Job *job, double *state, double *values, const double *cotangents, i64 W, double *spare)
{
    i64 size = job->size, O = job->observables, far = size * W, state_far = job->planes == 2 ? far : 0;
    const double *re = job->operator, *im = re ? re + size * size : NULL;
    double *after = re ? spare : state, *squares = spare + 2 * far;
    if (re) complex_product(after, far, re, im, 0, state, state_far, size, size, W);
    if (!cotangents) {
        for (i64 k = 0; k < far; k++) squares[k] = after[k] * after[k] + after[k + far] * after[k + far];
        product(values, job->diagonal, size, 1, squares, O, size, W, 0);
        return;
    }
    product(squares, job->diagonal, 1, size, cotangents, size, O, W, 0);
    for (i64 k = 0; k < far; k++) after[k] *= 2 * squares[k], after[k + far] *= 2 * squares[k];
    if (!re) return;
    double *slope = job->operator_slope;
    outer(slope, after, state, size, size, W, 1.0);
    outer(slope + size * size, after + far, state, size, size, W, 1.0);
    if (state_far) {
        outer(slope, after + far, state + far, size, size, W, 1.0);
        outer(slope + size * size, after, state + far, size, size, W, -1.0);
    }
    if (job->need_front) complex_product(state, state_far, re, im, 1, after, far, size, size, W);
}

/* W samples from number `first` on. On the way back the front is run again: cheaper than keeping its vectors. */
static void tile(const Job *job, i64 first, i64 W, double *arena)
{
    i64 size = job->size, O = job->observables;
    double *state = arena + job->final * W, *spare = arena + job->arena_rows * W, *columns = spare + 3 * size * W;
    Angles angles = job->angles;
    angles.own_cos += first, angles.own_sin += first, angles.own_slopes += job->cotangents ? first : 0;
    if (job->amplitudes)
        for (i64 r = 0; r < size; r++)
            for (i64 w = 0; w < W; w++) {
                arena[r * W + w] = job->amplitudes[(first + w) * size + r];
                if (job->planes == 2) arena[(size + r) * W + w] = 0;
            }
    forward(job->code, job->data, arena, W, (int)job->planes, &angles);
    if (job->cotangents)
        for (i64 o = 0; o < O; o++)
            for (i64 w = 0; w < W; w++) columns[o * W + w] = job->cotangents[(first + w) * O + o];
    if (job->diagonal)
        meet_diagonal(job, state, columns, job->cotangents ? columns : NULL, W, spare);
    else
        meet_observables(job, state, columns, job->cotangents ? columns : NULL, W);
    if (!job->cotangents) {
        for (i64 o = 0; o < O; o++)
            for (i64 w = 0; w < W; w++) job->values[(first + w) * O + o] = columns[o * W + w];
        return;
    }
    if (!job->need_front) return;
    backward(job->code, job->data, arena, W, (int)job->planes, &angles);
    if (job->amplitudes)
        for (i64 r = 0; r < size; r++)
            for (i64 w = 0; w < W; w++) job->amplitude_slope[(first + w) * size + r] = arena[r * W + w];
}

/* samples(code, data, own cos, own sin, cos, sin, amplitudes, operator, diagonal, values,
 *         cotangents, own slopes, slopes, operator slope, amplitude slope,
 *         sizes = int64 (planes, size, final, arena_rows, O, N, need_front), first, last): None for what there isn't. */
static PyObject *samples(PyObject *Py_UNUSED(module), PyObject *const *objects, Py_ssize_t count)
{
    Py_buffer v[MOST];
    if (count != MOST + 2) return PyErr_Format(PyExc_TypeError, "samples takes %d arguments, not %zd", MOST + 2, count);
    long first = PyLong_AsLong(objects[MOST]), last = PyLong_AsLong(objects[MOST + 1]);
    if (PyErr_Occurred() || !open_all(objects, MOST, v)) return NULL;
    const i64 *sizes = v[15].buf;
    Job job = {
        .code = v[0].buf, .data = v[1].buf, .amplitudes = v[6].buf, .operator = v[7].buf, .diagonal = v[8].buf,
        .values = v[9].buf, .cotangents = v[10].buf, .operator_slope = v[13].buf, .amplitude_slope = v[14].buf,
        .planes = sizes[0], .size = sizes[1], .final = sizes[2], .arena_rows = sizes[3], .observables = sizes[4],
        .need_front = sizes[6],
    };
    Angles angles = {v[2].buf, v[3].buf, v[4].buf, v[5].buf, v[11].buf, v[12].buf, sizes[5]};
    job.angles = angles;
    double *arena = malloc((job.arena_rows + 3 * job.size + job.observables) * TILE * sizeof *arena);
    if (arena) {
        Py_BEGIN_ALLOW_THREADS
        for (long at = first; at < last; at += TILE) tile(&job, at, last - at < TILE ? last - at : TILE, arena);
        free(arena);
        Py_END_ALLOW_THREADS
    }
    return close_all(v, MOST, arena != NULL);
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
