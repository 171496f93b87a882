/* ioctl: KVM and everything else that is driven by it. */
#include "molt.h"

#include <sys/ioctl.h>
#include <unistd.h>

/*
 * A signal ends some requests early without anything done (KVM_CREATE_VM, for one): they begin again.
 * KVM_RUN, which a signal is meant to end, is in vcpu.c.
 */

/* An ioctl whose argument is a structure. */
MOLT_EXPORT int32_t molt_ioctl(int32_t fd, uint64_t request, void *argument)
{
	return molt_status((int)TEMP_FAILURE_RETRY(ioctl(fd, request, argument)));
}

/* An ioctl whose argument is a number or a descriptor. */
MOLT_EXPORT int32_t molt_ioctl_value(int32_t fd, uint64_t request, uint64_t value)
{
	return molt_status((int)TEMP_FAILURE_RETRY(ioctl(fd, request, value)));
}
