/* ioctl: KVM and everything else that is driven by it. */
#include "molt.h"

#include <sys/ioctl.h>

/* An ioctl whose argument is a structure. */
MOLT_EXPORT int32_t molt_ioctl(int32_t fd, uint64_t request, void *argument)
{
	return molt_status(ioctl(fd, request, argument));
}

/* An ioctl whose argument is a number or a descriptor. */
MOLT_EXPORT int32_t molt_ioctl_value(int32_t fd, uint64_t request, uint64_t value)
{
	return molt_status(ioctl(fd, request, value));
}
