/* Vectors of MSI and MSI-X (see message_vector.h). */
#include "molt.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "message_vector.h"

struct molt_vector {
	int vm; /* KVM's virtual machine, -1: tests without one */
	pthread_mutex_t lock;
	bool masked;
	bool pending;
	struct kvm_msi message;
	uint64_t sent; /* messages that went out, for tests */
};

/* A vector that is masked, with nothing pending. Returns its handle, or -ENOMEM. */
MOLT_EXPORT int64_t molt_vector_create(int32_t vm)
{
	struct molt_vector *vector = calloc(1, sizeof *vector);

	if (!vector)
		return -ENOMEM;
	vector->vm = vm;
	vector->masked = true;
	pthread_mutex_init(&vector->lock, NULL);
	return (int64_t)(uintptr_t)vector;
}

/* Frees the vector. Nothing may raise it any more. */
MOLT_EXPORT void molt_vector_destroy(uint64_t handle)
{
	struct molt_vector *vector = (void *)(uintptr_t)handle;

	pthread_mutex_destroy(&vector->lock);
	free(vector);
}

/* A message to an address at which there is no local APIC is the guest's own doing and is lost, as on a bus. */
static void send(struct molt_vector *vector)
{
	vector->sent++;
	if (vector->vm >= 0)
		ioctl(vector->vm, KVM_SIGNAL_MSI, &vector->message);
}

void molt_vector_send(struct molt_vector *vector)
{
	pthread_mutex_lock(&vector->lock);
	if (vector->masked)
		vector->pending = true;
	else
		send(vector);
	pthread_mutex_unlock(&vector->lock);
}

/* molt_vector_send for TypeScript. */
MOLT_EXPORT void molt_vector_raise(uint64_t handle)
{
	molt_vector_send((void *)(uintptr_t)handle);
}

/* The vector is not masked from now on and sends `data` to `address`. What is pending is sent. */
MOLT_EXPORT void molt_vector_unmask(uint64_t handle, uint64_t address, uint32_t data)
{
	struct molt_vector *vector = (void *)(uintptr_t)handle;

	pthread_mutex_lock(&vector->lock);
	vector->message.address_lo = (uint32_t)address;
	vector->message.address_hi = (uint32_t)(address >> 32);
	vector->message.data = data;
	vector->masked = false;
	if (vector->pending) {
		vector->pending = false;
		send(vector);
	}
	pthread_mutex_unlock(&vector->lock);
}

MOLT_EXPORT void molt_vector_mask(uint64_t handle)
{
	struct molt_vector *vector = (void *)(uintptr_t)handle;

	pthread_mutex_lock(&vector->lock);
	vector->masked = true;
	pthread_mutex_unlock(&vector->lock);
}

/* 1: an interrupt waits for the vector to be unmasked; else 0. */
MOLT_EXPORT int32_t molt_vector_pending(uint64_t handle)
{
	struct molt_vector *vector = (void *)(uintptr_t)handle;

	pthread_mutex_lock(&vector->lock);

	bool pending = vector->pending;

	pthread_mutex_unlock(&vector->lock);
	return pending;
}

/* Gives a masked vector what was pending at a source, or takes it away. */
MOLT_EXPORT void molt_vector_set_pending(uint64_t handle, uint32_t pending)
{
	struct molt_vector *vector = (void *)(uintptr_t)handle;

	pthread_mutex_lock(&vector->lock);
	vector->pending = vector->masked && pending != 0;
	pthread_mutex_unlock(&vector->lock);
}

/* How many messages went out. */
MOLT_EXPORT uint64_t molt_vector_sent(uint64_t handle)
{
	struct molt_vector *vector = (void *)(uintptr_t)handle;

	pthread_mutex_lock(&vector->lock);

	uint64_t sent = vector->sent;

	pthread_mutex_unlock(&vector->lock);
	return sent;
}
