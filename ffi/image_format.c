/*
 * Formats of disk images, known by their first 512 bytes. What decides is what QEMU's drivers look at
 * when no format is given (bdrv_probe): magic numbers, and of some formats the version beside them.
 */
#include "molt.h"

#include <stdbool.h>
#include <string.h>

#include "image_format.h"

/* A magic number and, if `version_size` is not 0, the versions that go with it. */
struct signature {
	const char *format;
	uint32_t offset;
	uint32_t size;
	const char *magic;
	uint32_t version_offset;
	uint32_t version_size;
	bool big_endian;
	uint32_t version_first;
	uint32_t version_last;
};

/* cloop 2.0 images are shell scripts that mount themselves. */
static const char cloop_magic[] = "#!/bin/sh\n#V2.0 Format\n"
				  "modprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";

static const struct signature signatures[] = {
	{ "qcow", 0, 4, "QFI\xfb", 4, 4, true, 1, 1 },
	{ "qcow2", 0, 4, "QFI\xfb", 4, 4, true, 2, UINT32_MAX },
	{ "qed", 0, 4, "QED\0", 0, 0, false, 0, 0 },
	{ "luks", 0, 6, "LUKS\xba\xbe", 6, 2, true, 1, 1 },
	{ "parallels", 0, 16, "WithoutFreeSpace", 16, 4, false, 2, 2 },
	{ "parallels", 0, 16, "WithouFreSpacExt", 16, 4, false, 2, 2 },
	{ "vdi", 64, 4, "\x7f\x10\xda\xbe", 0, 0, false, 0, 0 },
	{ "vhdx", 0, 8, "vhdxfile", 0, 0, false, 0, 0 },
	{ "vmdk", 0, 4, "COWD", 0, 0, false, 0, 0 },
	{ "vmdk", 0, 4, "KDMV", 0, 0, false, 0, 0 },
	{ "vpc", 0, 8, "conectix", 0, 0, false, 0, 0 },
	{ "cloop", 0, sizeof cloop_magic - 1, cloop_magic, 0, 0, false, 0, 0 },
};

static uint32_t number(const uint8_t *bytes, uint32_t size, bool big_endian)
{
	uint32_t value = 0;

	for (uint32_t i = 0; i < size; i++)
		value = value << 8 | bytes[big_endian ? i : size - 1 - i];
	return value;
}

static bool fits(const struct signature *known, const uint8_t *start, uint64_t length)
{
	if (length < known->offset + known->size ||
	    memcmp(start + known->offset, known->magic, known->size) != 0)
		return false;
	if (known->version_size == 0)
		return true;
	if (length < known->version_offset + known->version_size)
		return false;

	uint32_t version =
		number(start + known->version_offset, known->version_size, known->big_endian);

	return version >= known->version_first && version <= known->version_last;
}

/* A text of that C string's characters and its terminating NUL. */
static bool holds(const uint8_t *start, const char *text)
{
	return memcmp(start, text, strlen(text) + 1) == 0;
}

/* Bochs: magic, type at 32 and subtype at 48 are texts; then a version of 1 or 2. */
static bool is_bochs(const uint8_t *start, uint64_t length)
{
	if (length < MOLT_IMAGE_PROBE_SIZE || !holds(start, "Bochs Virtual HD Image") ||
	    !holds(start + 32, "Redolog") || !holds(start + 48, "Growing"))
		return false;

	uint32_t version = number(start + 64, 4, false);

	return version == 0x00010000 || version == 0x00020000;
}

/* VMDK's descriptor files are text: comments and blank lines, then `version=N`. */
static bool is_vmdk_descriptor(const uint8_t *start, uint64_t length)
{
	static const char *const versions[] = { "version=1", "version=2", "version=3" };
	const uint8_t *end = start + length;
	const uint8_t *line = start;

	while (line < end && (*line == '#' || *line == ' ')) {
		if (*line == ' ') {
			while (line < end && *line == ' ')
				line++;
			if (line < end && *line == '\r')
				line++;
			if (line < end && *line != '\n')
				return false;
			line++;
			continue;
		}
		while (line < end && *line != '\n')
			line++;
		line++;
	}
	for (uint32_t i = 0; i < 3; i++) {
		uint64_t size = strlen(versions[i]);

		if (line >= end || (uint64_t)(end - line) <= size ||
		    memcmp(line, versions[i], size) != 0)
			continue;
		line += size;
		return *line == '\n' || (end - line >= 2 && line[0] == '\r' && line[1] == '\n');
	}
	return false;
}

const char *molt_probe_format(const uint8_t *start, uint64_t length)
{
	for (uint32_t i = 0; i < sizeof signatures / sizeof *signatures; i++) {
		if (fits(&signatures[i], start, length))
			return signatures[i].format;
	}
	if (is_bochs(start, length))
		return "bochs";
	return is_vmdk_descriptor(start, length) ? "vmdk" : NULL;
}

/*
 * The name of the format that the `length` bytes at `start` are the beginning of, NUL-terminated in
 * `name` (16 bytes): empty if nothing speaks against raw.
 */
MOLT_EXPORT void molt_image_format(const uint8_t *start, uint64_t length, char *name)
{
	const char *found = molt_probe_format(start, length);

	memset(name, 0, 16);
	if (found)
		strncpy(name, found, 15);
}
