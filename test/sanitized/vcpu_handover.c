/*
 * vCPU threads change hands while they are kicked, throttled and ended at any moment: nobody waits for a
 * vCPU that has missed what it was asked for.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "support/entry_points.h"
#include "support/kvm_guest.h"
#include "support/late_calls.h"
#include "support/program.h"

/* More ns than anybody waits here. */
#define VERY_LONG 1000000000000

/* Writes to port 0x10 all the time: out %al, $0x10; inc %al; jmp. */
static const uint8_t exits[] = { 0xe6, 0x10, 0xfe, 0xc0, 0xeb, 0xfa };
/* Runs without an exit: inc %al; jmp. */
static const uint8_t spins[] = { 0xfe, 0xc0, 0xeb, 0xfc };

/* Every kick parks the vCPU, whatever it is doing: running, in an exit, in a throttle sleep, before one. */
static void kicks_park(struct guest *guest, uint32_t count)
{
	struct guest_vcpu vcpu;

	guest_add_vcpu(guest, &vcpu, 0);
	for (uint32_t i = 0; i < count; i++) {
		molt_vcpu_resume(vcpu.handle);
		if (random_below(2) == 0)
			molt_vcpu_sleep(vcpu.handle, random_below(2) ? 20000 : VERY_LONG);
		dither();
		molt_vcpu_kick(vcpu.handle);
		if (random_below(4) == 0)
			molt_vcpu_kick(vcpu.handle);
		guest_serve_until(guest, &vcpu, MOLT_VCPU_PARKED);
	}
	molt_vcpu_destroy(vcpu.handle);
}

/* A throttle sleep that is ended at once ends, however long it was to be. The guest exits then. */
static void sleeps_end(struct guest *guest, uint32_t count)
{
	struct guest_vcpu vcpu;

	guest_add_vcpu(guest, &vcpu, 0);
	for (uint32_t i = 0; i < count; i++) {
		molt_vcpu_resume(vcpu.handle);
		if (random_below(2) == 0)
			dither();
		molt_vcpu_sleep(vcpu.handle, VERY_LONG);
		dither();
		molt_vcpu_sleep(vcpu.handle, 0);
		/* Exits from before the sleep do not count: it may have begun only then. */
		for (int exit = 0; exit < 3; exit++) {
			guest_serve_until(guest, &vcpu, MOLT_VCPU_EXITED);
			molt_vcpu_resume(vcpu.handle);
		}
		molt_vcpu_kick(vcpu.handle);
		guest_serve_until(guest, &vcpu, MOLT_VCPU_PARKED);
	}
	molt_vcpu_destroy(vcpu.handle);
}

/* A vCPU ends wherever it is. */
static void vcpus_end(struct guest *guest, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct guest_vcpu vcpu;

		guest_add_vcpu(guest, &vcpu, 0);
		if (random_below(8) > 0)
			molt_vcpu_resume(vcpu.handle);
		dither();
		if (random_below(2) == 0)
			molt_vcpu_sleep(vcpu.handle, random_below(2) ? 20000 : VERY_LONG);
		if (random_below(2) == 0)
			dither();
		if (random_below(4) == 0)
			molt_vcpu_kick(vcpu.handle);
		molt_vcpu_destroy(vcpu.handle);
	}
}

int main(int argc, char **argv)
{
	uint32_t count = rounds(argc, argv, 500);
	struct guest guest;

	guest_create(&guest, NULL);
	late_ioctl(KVM_RUN, 100);
	late_futex(true, 100);

	set_limit(60, "a vCPU that exits all the time does not park");
	guest_load(&guest, exits, sizeof exits);
	kicks_park(&guest, count);

	set_limit(60, "a vCPU that never exits does not park");
	guest_load(&guest, spins, sizeof spins);
	kicks_park(&guest, count);

	set_limit(60, "a vCPU goes on sleeping");
	guest_load(&guest, exits, sizeof exits);
	sleeps_end(&guest, count);

	set_limit(60, "a vCPU does not end");
	guest_load(&guest, spins, sizeof spins);
	vcpus_end(&guest, count < 200 ? count : 200);

	guest_destroy(&guest);
	printf("vcpu_handover: %u rounds\n", count);
	return 0;
}
