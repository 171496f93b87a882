#ifndef MOLT_VCPU_H
#define MOLT_VCPU_H

#include <stdint.h>

/*
 * Who owns a vCPU:
 *
 *   PARKED --resume--> RUNNING --exit--> EXITED --resume--> RUNNING ...
 *      ^                  |
 *      +---- (kicked) ----+
 *
 * PARKED and EXITED belong to TypeScript, RUNNING to the vCPU's thread. A kicked vCPU parks only
 * from inside KVM_RUN, after the kernel finished the instruction of an earlier exit, so a parked
 * vCPU's registers are complete and can be saved.
 */
enum molt_vcpu_state {
	MOLT_VCPU_PARKED = 0,
	MOLT_VCPU_RUNNING = 1,
	MOLT_VCPU_EXITED = 2,
	MOLT_VCPU_QUIT = 3,
};

/* What TypeScript reads of a vCPU, besides its kvm_run. */
struct molt_vcpu_shared {
	uint32_t state; /* enum molt_vcpu_state; also a futex */
	int32_t error; /* EXITED: 0, or the -errno of KVM_RUN */
};

#endif
