/* A driver whose GPUs are this processor, with as much of the API as thrombojax calls. A module's image is the path of a library. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

int fake_gpus = 2, fake_init = 0, fake_load = 0, fake_launch = 0;
long fake_limit = 1L << 40, fake_used = 0, fake_launches[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local long current;

int cuInit(unsigned flags) { return flags ? 1 : fake_init; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = fake_gpus; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Fake", size); return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) { *value = which == 75 ? 9 : 0; return which == 75 || which == 76 ? 0 : 1; }
int cuDevicePrimaryCtxRetain(long *context, int device) { *context = device + 1; return 0; }
int cuCtxSetCurrent(long context) { current = context; return 0; }
int cuGetErrorName(int code, const char **text) { *text = code == 209 ? "CUDA_ERROR_NO_BINARY_FOR_GPU" : "CUDA_ERROR"; return 0; }
int cuGetErrorString(int code, const char **text) { *text = "as asked"; return 0; }
int cuMemGetInfo_v2(size_t *unused, size_t *total) { *unused = *total = 1UL << 40; return current ? 0 : 201; }

int cuMemAlloc_v2(unsigned long *address, size_t size) {
  if (!current) return 201;
  pthread_mutex_lock(&lock);
  const int full = fake_used + (long)size > fake_limit;
  if (!full) fake_used += size;
  pthread_mutex_unlock(&lock);
  if (full) return 2;
  size_t *const made = malloc(size + sizeof(double));
  *made = size;
  *address = (unsigned long)(made + 1);
  return 0;
}

int cuMemFree_v2(unsigned long address) {
  size_t *const made = (size_t *)address - 1;
  pthread_mutex_lock(&lock);
  fake_used -= *made;
  pthread_mutex_unlock(&lock);
  free(made);
  return current ? 0 : 201;
}

int cuMemcpyHtoD_v2(unsigned long to, const void *from, size_t size) {
  if (size > ((size_t *)to)[-1]) return 1;
  memcpy((void *)to, from, size);
  return 0;
}

int cuMemcpyDtoH_v2(void *to, unsigned long from, size_t size) {
  if (size > ((size_t *)from)[-1]) return 1;
  memcpy(to, (void *)from, size);
  return 0;
}

int cuModuleLoadData(void **module, const char *image) { return fake_load ? fake_load : !(*module = dlopen(image, RTLD_NOW)); }

int cuModuleGetFunction(void **function, void *module, const char *name) {
  char host[100];
  strcat(strcpy(host, name), "_host");
  return !(*function = dlsym(module, host));
}

int cuLaunchKernel(void (*f)(const void *, long, long), unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **given, void **extra) {
  if (!current || gy != 1 || gz != 1 || by != 1 || bz != 1 || shared || stream || extra) return 1;
  if (fake_launch) return fake_launch;
  __atomic_fetch_add(&fake_launches[current - 1], 1, __ATOMIC_RELAXED);
  f(given[0], 0, (long)gx * bx);
  return 0;
}
