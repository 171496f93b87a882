#ifndef KVM_GUEST_H
#define KVM_GUEST_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "../../../ffi/vcpu.h"

/* A virtual machine of /dev/kvm whose processors run a few bytes of 16-bit code. */

#define GUEST_MEMORY (1 << 20)
/* Where code begins. */
#define GUEST_CODE 0x1000

struct guest {
	int kvm;
	int vm;
	uint8_t *memory; /* GUEST_MEMORY bytes at guest-physical 0, slot 0 */
	uint64_t doorbell;
	uint32_t vcpus; /* created so far; each has an id of its own */
};

/* A processor's thread in the C library. */
struct guest_vcpu {
	uint64_t handle;
	int fd; /* the library's */
	const struct molt_vcpu_shared *shared;
	struct kvm_run *run;
};

/* Ends the program if /dev/kvm cannot be used. `capability` is enabled first; NULL: none. */
void guest_create(struct guest *guest, const struct kvm_enable_cap *capability);
void guest_destroy(struct guest *guest);

/* Puts code where processors begin. */
void guest_load(struct guest *guest, const void *code, size_t length);

/* Has KVM note from now on which pages are written. */
void guest_log_pages(struct guest *guest);

/* Another processor, parked, at GUEST_CODE. It is number `index` of the doorbell. */
void guest_add_vcpu(struct guest *guest, struct guest_vcpu *vcpu, uint32_t index);

/* Who has the processor: enum molt_vcpu_state. */
uint32_t guest_vcpu_state(const struct guest_vcpu *vcpu);

/* Waits for exits of processor 0, the only one, until it is in `state`; lets it run on after exits. */
void guest_serve_until(struct guest *guest, struct guest_vcpu *vcpu, uint32_t state);

#endif
