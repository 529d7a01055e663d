/* Kernels inside a program of XLA: one handler for all of them, which launches what is in its attributes on XLA's stream and
   buffers. `job` is the Job of job.cu but for addresses, as 64-bit words; `offsets` says where in it the address of each operand
   and each result goes, in bytes; `threads` says on how many threads each kernel of `module` runs, one after another. An executable
   that JAX keeps on disk holds all of that, so nothing in an attribute is an address: a module is named by the hash of its text, and
   what it is in this process stands in a list. */
#include "xla/ffi/api/c_api.h"
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define MOST 32764 /* bytes that a kernel can be given by value */

typedef struct Module {
  struct Module *next;
  int64_t hash, gpus, kernels, block; /* block: threads */
  void *const *contexts;              /* [gpus] */
  void *const *functions;             /* [gpus][kernels] */
  /* The driver: cuCtxSetCurrent, cuLaunchKernel, cuGetErrorName. */
  int (*enter)(void *context);
  int (*launch)(void *function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared, void *stream,
                void **given, void **extra);
  int (*name)(int code, const char **text);
} Module;

static Module *modules;

/* Make a module known, in place of one of the same hash. It is never forgotten; callers take turns. */
EXPORT void thrombojax_know(Module *module) {
  module->next = modules;
  __atomic_store_n(&modules, module, __ATOMIC_RELEASE);
}

static XLA_FFI_Error *failed(const XLA_FFI_Api *api, XLA_FFI_Error_Code code, const char *message) {
  XLA_FFI_Error_Create_Args given = {XLA_FFI_Error_Create_Args_STRUCT_SIZE, NULL, message, code};
  return api->XLA_FFI_Error_Create(&given);
}

/* An attribute of 64-bit integers; their number, or -1. */
static int64_t attribute(const XLA_FFI_CallFrame *frame, const char *name, const int64_t **values) {
  const XLA_FFI_Attrs *attrs = &frame->attrs;
  for (int64_t k = 0; k < attrs->size; k++) {
    if (attrs->names[k]->len != strlen(name) || memcmp(attrs->names[k]->ptr, name, strlen(name))) continue;
    const XLA_FFI_Array *found = attrs->attrs[k];
    if (attrs->types[k] != XLA_FFI_AttrType_ARRAY || found->dtype != XLA_FFI_DataType_S64) return -1;
    *values = found->data;
    return found->size;
  }
  return -1;
}

static XLA_FFI_Error *run(const XLA_FFI_CallFrame *frame, int64_t gpu, void *stream) {
  const XLA_FFI_Api *api = frame->api;
  const XLA_FFI_Args *args = &frame->args;
  const XLA_FFI_Rets *rets = &frame->rets;
  const int64_t *job, *offsets, *threads, *hash;
  const int64_t size = attribute(frame, "job", &job) * (int64_t)sizeof *job, kernels = attribute(frame, "threads", &threads);
  if (size < 0 || size > MOST || attribute(frame, "offsets", &offsets) != args->size + rets->size ||
      attribute(frame, "module", &hash) != 1)
    return failed(api, XLA_FFI_Error_Code_INVALID_ARGUMENT, "thrombojax: attributes that do not fit together");

  const Module *module = __atomic_load_n(&modules, __ATOMIC_ACQUIRE);
  while (module && module->hash != *hash) module = module->next;
  if (!module || gpu < 0 || gpu >= module->gpus || kernels != module->kernels)
    return failed(api, XLA_FFI_Error_Code_NOT_FOUND, "thrombojax: a kernel that is not loaded on this GPU");

  char given[MOST] __attribute__((aligned(16)));
  memcpy(given, job, size);
  for (int64_t k = 0; k < args->size + rets->size; k++) {
    const XLA_FFI_Buffer *buffer = k < args->size ? args->args[k] : rets->rets[k - args->size];
    if (offsets[k] < 0 || offsets[k] + (int64_t)sizeof(void *) > size)
      return failed(api, XLA_FFI_Error_Code_INVALID_ARGUMENT, "thrombojax: an address beyond the job");
    memcpy(given + offsets[k], &buffer->data, sizeof(void *));
  }

  const char *call = "cuCtxSetCurrent";
  int code = module->enter(module->contexts[gpu]);
  for (int64_t k = 0; k < kernels && !code; k++) {
    const int64_t block = threads[k] < module->block ? threads[k] : module->block;
    void *pointers[] = {given};
    call = "cuLaunchKernel"; /* copies what it is given before it returns */
    code = module->launch(module->functions[gpu * kernels + k], (threads[k] + block - 1) / block, 1, 1, block, 1, 1, 0, stream,
                          pointers, NULL);
  }
  if (!code) return NULL;
  const char *name = NULL;
  char said[200];
  if (module->name(code, &name) || !name) name = "an error without a name";
  snprintf(said, sizeof said, "thrombojax: %s: %s (%d)", call, name, code);
  return failed(api, XLA_FFI_Error_Code_INTERNAL, said);
}

/* What XLA asks of every handler before it calls it: for which version of the interface it was compiled. */
static int asked(const XLA_FFI_CallFrame *frame) {
  XLA_FFI_Extension_Base *extension = frame->extension_start;
  if (!extension || extension->type != XLA_FFI_Extension_Metadata) return 0;
  XLA_FFI_Metadata *metadata = ((XLA_FFI_Metadata_Extension *)extension)->metadata;
  metadata->api_version = (XLA_FFI_Api_Version){XLA_FFI_Api_Version_STRUCT_SIZE, NULL, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR};
  metadata->traits = 0;
  metadata->state_type_id = (XLA_FFI_TypeId){0};
  return 1;
}

/* On a GPU. */
EXPORT XLA_FFI_Error *thrombojax_launch(XLA_FFI_CallFrame *frame) {
  if (asked(frame)) return NULL;
  XLA_FFI_Stream_Get_Args stream = {XLA_FFI_Stream_Get_Args_STRUCT_SIZE, NULL, frame->ctx, NULL};
  XLA_FFI_Error *error = frame->api->XLA_FFI_Stream_Get(&stream);
  if (error) return error;
  XLA_FFI_DeviceOrdinal_Get_Args device = {XLA_FFI_DeviceOrdinal_Get_Args_STRUCT_SIZE, NULL, frame->ctx, 0};
  error = frame->api->XLA_FFI_DeviceOrdinal_Get(&device);
  return error ? error : run(frame, device.device_ordinal, stream.stream);
}

/* On the processor, which has no stream: for tests, with a driver whose GPUs it is. */
EXPORT XLA_FFI_Error *thrombojax_launch_here(XLA_FFI_CallFrame *frame) { return asked(frame) ? NULL : run(frame, 0, NULL); }
