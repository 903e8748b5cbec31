/* Plain C on libuv as a peer: the ceiling for anything that goes through libuv's pool one request
 * at a time.
 *
 * It does `stat` (uv_fs_stat) and `noop` (uv_queue_work with an empty callback). Requests come from
 * our own runner, one JSON object a line with plain keys, so a search for the key is enough of a
 * parser. Rules of fairness: python_peer.py's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct slot {
  union {
    uv_fs_t fs;
    uv_work_t work;
  } request;
  long long result;
};

static long long operations, started, done, total;
static int failed, statting, files;
static char directory[4096];
static char **paths;

static void start(struct slot *slot);

static void finish(struct slot *slot, long long result) {
  done++;
  total += result;
  start(slot);
}

static void after_stat(uv_fs_t *request) {
  struct slot *slot = request->data;
  long long size = (long long)request->statbuf.st_size;

  if (request->result < 0)
    failed = (int)request->result;
  uv_fs_req_cleanup(request);
  finish(slot, size);
}

static void do_nothing(uv_work_t *request) { ((struct slot *)request->data)->result = 1; }

static void after_work(uv_work_t *request, int status) {
  struct slot *slot = request->data;

  if (status < 0)
    failed = status;
  finish(slot, slot->result);
}

static void start(struct slot *slot) {
  int status;

  if (started >= operations || failed)
    return;
  if (statting) {
    slot->request.fs.data = slot;
    status = uv_fs_stat(uv_default_loop(), &slot->request.fs, paths[started % files], after_stat);
  } else {
    slot->request.work.data = slot;
    status = uv_queue_work(uv_default_loop(), &slot->request.work, do_nothing, after_work);
  }
  started++;
  if (status < 0)
    failed = status;
}

static const char *value(const char *line, const char *key) {
  const char *found = strstr(line, key);

  return found ? found + strlen(key) : "0";
}

static void name_files(const char *line) {
  const char *text = value(line, "\"directory\": \"");
  size_t length = strcspn(text, "\"");
  int i;

  for (i = 0; i < files; i++)
    free(paths[i]);
  files = atoi(value(line, "\"files\": "));
  paths = realloc(paths, (size_t)(files + 1) * sizeof *paths);
  snprintf(directory, sizeof directory, "%.*s", (int)length, text);
  for (i = 0; i < files; i++) {
    paths[i] = malloc(length + 16);
    snprintf(paths[i], length + 16, "%s/%d", directory, i);
  }
}

int main(void) {
  static char line[65536];
  static struct slot slots[1024];
  uint64_t begin, end;
  int in_flight, i;

  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("{\"libuv\": \"%s\"}\n", uv_version_string());
  while (fgets(line, sizeof line, stdin)) {
    name_files(line);
    statting = strncmp(value(line, "\"operation\": \""), "stat", 4) == 0;
    operations = atoll(value(line, "\"operations\": "));
    in_flight = atoi(value(line, "\"in_flight\": "));
    started = done = total = failed = 0;
    begin = uv_hrtime();
    for (i = 0; i < in_flight && i < 1024; i++)
      start(&slots[i]);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    end = uv_hrtime();
    if (failed)
      printf("{\"error\": \"%s\"}\n", uv_strerror(failed));
    else
      printf("{\"seconds\": %.9f, \"operations\": %lld, \"total\": %lld}\n",
             (double)(end - begin) / 1e9, done, total);
  }
  return 0;
}
