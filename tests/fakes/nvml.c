/* A driver of three NVIDIA GPUs: one that is lost, one that is busy, and one that is shared out and tells no load.
   Built by a test. */
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, LOST = 15 };
typedef struct { unsigned int gpu, memory; } Rates;
typedef struct { unsigned int pid; unsigned long long used; unsigned int instance, compute; } Process;
static char gpus[3];

int nvmlInit_v2(void) { return OK; }
int nvmlInitWithFlags(unsigned int flags) { return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return "error"; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 3; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **gpu) { *gpu = &gpus[index]; return index ? OK : LOST; }
int nvmlDeviceGetName(void *gpu, char *name, unsigned int length) { strncpy(name, "NVIDIA H200", length); return OK; }
int nvmlDeviceGetUUID(void *gpu, char *uuid, unsigned int length) {
    strncpy(uuid, gpu == gpus + 1 ? "GPU-first" : "GPU-second", length);
    return OK;
}
int nvmlDeviceGetUtilizationRates(void *gpu, Rates *rates) {
    if (gpu != gpus + 1) return NOT_SUPPORTED;
    rates->gpu = 87;
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *gpu, unsigned int *count, Process *processes) {
    if (*count < 1) { *count = 1; return INSUFFICIENT_SIZE; }
    *count = 1;
    processes[0].pid = 4321;
    processes[0].used = 3ULL << 30;
    return OK;
}
