"""A plugin of pytest: what the tests start takes SIGINT and SIGHUP, also when the tests run in the background or under nohup.

A shell starts a background job with SIGINT ignored, and nohup with SIGHUP ignored; programs inherit that, and a handler is
not inherited. So pytest goes on ignoring them, and what it starts does not.
"""

import signal

for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)
