/*
 * The program that works in a guest, and for it at the other end of its network:
 *
 *   rig disk DEVICE            writes and reads back, in the background
 *   rig check FILE             looks at what `disk` left, from outside
 *   rig serve PORT             sends back what comes
 *   rig stream NAME HOST PORT  sends, and compares what comes back, in the background
 *   rig memory MEGABYTES       writes and compares memory, in the background
 *   rig clocks                 reads the clocks on all CPUs, in the background
 *   rig stop NAME              ends what is in the background
 *   rig status                 a line for each of those in the background:
 *                              NAME PROGRESS ERRORS DETAIL FIRST-ERROR
 */
#define _GNU_SOURCE
#include "worker.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

static int print_status(void) {
  glob_t found;
  if (glob("/run/rig-*", 0, NULL, &found) != 0) return 0;
  for (size_t i = 0; i < found.gl_pathc; i++) {
    FILE *file = fopen(found.gl_pathv[i], "r");
    struct worker worker;
    if (file == NULL || fread(&worker, sizeof worker, 1, file) != 1) {
      fail("cannot read %s", found.gl_pathv[i]);
    }
    fclose(file);
    printf("%.16s %llu %llu %llu %.200s\n", worker.name, (unsigned long long)worker.progress,
           (unsigned long long)worker.errors, (unsigned long long)worker.detail,
           worker.first_error);
  }
  globfree(&found);
  return 0;
}

int main(int argc, char **argv) {
  const char *command = argc > 1 ? argv[1] : "";
  argc -= 2;
  argv += 2;
  if (strcmp(command, "disk") == 0 && argc == 1) return run_disk(argc, argv);
  if (strcmp(command, "check") == 0 && argc == 1) return check_disk(argc, argv);
  if (strcmp(command, "serve") == 0 && argc == 1) return serve_streams(argc, argv);
  if (strcmp(command, "stream") == 0 && argc == 3) return run_stream(argc, argv);
  if (strcmp(command, "memory") == 0 && argc == 1) return run_memory(argc, argv);
  if (strcmp(command, "clocks") == 0 && argc == 0) return run_clocks(argc, argv);
  if (strcmp(command, "stop") == 0 && argc == 1) return worker_stop(argv[0]);
  if (strcmp(command, "status") == 0 && argc == 0) return print_status();
  fputs("usage: rig disk|check|serve|stream|memory|clocks|stop|status ...\n", stderr);
  return 2;
}
