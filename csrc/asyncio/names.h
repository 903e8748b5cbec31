/* The names that C looks up in Python, interned once: str_NAME each. */
#ifndef UVW_NAMES_H
#define UVW_NAMES_H

#define UVW_NAMES(X)                                                                               \
  X(_asyncio_future_blocking)                                                                      \
  X(_attach)                                                                                       \
  X(_check_callback)                                                                               \
  X(_create_task)                                                                                  \
  X(_detach)                                                                                       \
  X(_give_way)                                                                                     \
  X(_note_time)                                                                                    \
  X(buffer_updated)                                                                                \
  X(call_exception_handler)                                                                        \
  X(cancelled)                                                                                     \
  X(close)                                                                                         \
  X(connection_lost)                                                                               \
  X(connection_made)                                                                               \
  X(context)                                                                                       \
  X(create_future)                                                                                 \
  X(data_received)                                                                                 \
  X(datagram_received)                                                                             \
  X(done)                                                                                          \
  X(eof_received)                                                                                  \
  X(error_received)                                                                                \
  X(exception)                                                                                     \
  X(get_buffer)                                                                                    \
  X(gettimeout)                                                                                    \
  X(join)                                                                                          \
  X(pause_writing)                                                                                 \
  X(resume_writing)                                                                                \
  X(set_exception)                                                                                 \
  X(set_result)                                                                                    \
  X(setblocking)

#define UVW_DECLARE_NAME(name) extern PyObject *str_##name;
UVW_NAMES(UVW_DECLARE_NAME)
#undef UVW_DECLARE_NAME

int names_init(void);

/* `from module import name`; raises. */
int import_name(PyObject **object, const char *module, const char *name);

#endif
