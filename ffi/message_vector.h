#ifndef MOLT_MESSAGE_VECTOR_H
#define MOLT_MESSAGE_VECTOR_H

/*
 * One vector of MSI or MSI-X: the message that interrupts a processor. While the vector is masked, an
 * interrupt makes it pending, and unmasking sends what is pending (PCI Local Bus Specification 3.0,
 * chapter 6.8).
 *
 * The message goes to KVM by KVM_SIGNAL_MSI from whatever thread raises the vector. Against an eventfd with a
 * route of KVM's (irqfd) that costs the same, and changing a vector costs nothing: each change of KVM's table of
 * routes waits until no processor uses the old one.
 */
struct molt_vector;

/* Interrupts the guest, or makes the vector pending. Any thread. */
void molt_vector_send(struct molt_vector *vector);

#endif
