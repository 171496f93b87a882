/** The QEMU version whose interfaces molt speaks. Clients decide by it what they may use. */
export const qemuVersion = { major: 11, minor: 1, micro: 3 } as const;

/** The version as people write it. */
export const qemuVersionText = `${qemuVersion.major}.${qemuVersion.minor}.${qemuVersion.micro}`;
