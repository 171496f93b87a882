/* A virtual machine of /dev/kvm (see kvm_guest.h). */
#define _GNU_SOURCE
#include "kvm_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "entry_points.h"
#include "program.h"

/* Where processors of Intel's without real mode keep what they need: memory that nobody uses. */
#define TSS_ADDRESS 0xfffbd000ul

static void set_memory(struct guest *guest, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.flags = flags,
		.memory_size = GUEST_MEMORY,
		.userspace_addr = (uint64_t)(uintptr_t)guest->memory,
	};

	check(ioctl(guest->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0,
	      "KVM_SET_USER_MEMORY_REGION: %s", strerror(errno));
}

void guest_create(struct guest *guest, const struct kvm_enable_cap *capability)
{
	guest->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	check(guest->kvm >= 0, "/dev/kvm cannot be used: %s", strerror(errno));
	guest->vm = ioctl(guest->kvm, KVM_CREATE_VM, 0);
	check(guest->vm >= 0, "KVM_CREATE_VM: %s", strerror(errno));
	ioctl(guest->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS);
	guest->memory = mmap(NULL, GUEST_MEMORY, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(guest->memory != MAP_FAILED, "mmap: %s", strerror(errno));
	if (capability)
		check(ioctl(guest->vm, KVM_ENABLE_CAP, capability) == 0, "KVM_ENABLE_CAP %u: %s",
		      capability->cap, strerror(errno));
	set_memory(guest, 0);

	int64_t doorbell = molt_doorbell_create();

	check(doorbell > 0, "molt_doorbell_create: %ld", (long)doorbell);
	guest->doorbell = (uint64_t)doorbell;
	guest->vcpus = 0;
}

void guest_destroy(struct guest *guest)
{
	molt_doorbell_destroy(guest->doorbell);
	close(guest->vm);
	close(guest->kvm);
	munmap(guest->memory, GUEST_MEMORY);
}

void guest_log_pages(struct guest *guest)
{
	set_memory(guest, KVM_MEM_LOG_DIRTY_PAGES);
}

void guest_load(struct guest *guest, const void *code, size_t length)
{
	memcpy(guest->memory + GUEST_CODE, code, length);
}

void guest_add_vcpu(struct guest *guest, struct guest_vcpu *vcpu, uint32_t index)
{
	int size = ioctl(guest->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	int fd = ioctl(guest->vm, KVM_CREATE_VCPU, (unsigned long)guest->vcpus++);
	struct kvm_regs registers = { .rip = GUEST_CODE, .rflags = 2 };
	struct kvm_sregs system;

	check(fd >= 0 && size > 0, "KVM_CREATE_VCPU: %s", strerror(errno));
	check(ioctl(fd, KVM_GET_SREGS, &system) == 0, "KVM_GET_SREGS: %s", strerror(errno));
	system.cs.base = system.cs.selector = 0;
	check(ioctl(fd, KVM_SET_SREGS, &system) == 0, "KVM_SET_SREGS: %s", strerror(errno));
	check(ioctl(fd, KVM_SET_REGS, &registers) == 0, "KVM_SET_REGS: %s", strerror(errno));

	int64_t handle = molt_vcpu_create(fd, (uint64_t)size, index, guest->doorbell);

	check(handle > 0, "molt_vcpu_create: %ld", (long)handle);
	vcpu->fd = fd;
	vcpu->handle = (uint64_t)handle;
	vcpu->shared = (const struct molt_vcpu_shared *)(uintptr_t)handle;
	vcpu->run = (struct kvm_run *)(uintptr_t)molt_vcpu_run(vcpu->handle);
}

uint32_t guest_vcpu_state(const struct guest_vcpu *vcpu)
{
	return atomic_load((const _Atomic uint32_t *)&vcpu->shared->state);
}

/* As a machine that is being stopped, or one that runs: that may look before it sleeps, or not sleep at all. */
static void wait_for_vcpus(struct guest *guest)
{
	struct molt_wait_result result;

	switch (random_below(4)) {
	case 0:
		molt_wait_vcpus(guest->doorbell);
		return;
	case 1:
		check(molt_wait(guest->doorbell, 0, &result) == 0, "molt_wait has seen something");
		return;
	default:
		check(molt_wait(guest->doorbell, 50, &result) == 0, "molt_wait has seen something");
	}
}

void guest_serve_until(struct guest *guest, struct guest_vcpu *vcpu, uint32_t state)
{
	while (guest_vcpu_state(vcpu) != state) {
		if (guest_vcpu_state(vcpu) == MOLT_VCPU_EXITED) {
			check(vcpu->shared->error == 0 && vcpu->run->exit_reason == KVM_EXIT_IO,
			      "exit %u, error %d", vcpu->run->exit_reason, vcpu->shared->error);
			molt_vcpu_resume(vcpu->handle);
		}
		wait_for_vcpus(guest);
	}
}
