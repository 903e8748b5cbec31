#include "asyncio.h"
void ops_ready(Reader *self, int direction) { (void)self; (void)direction; }
void ops_fail(Reader *self, int code) { (void)self; (void)code; }
