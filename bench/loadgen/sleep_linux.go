package main

import (
	"syscall"
	"time"
)

// sleep is exact to some 60 µs; the runtime's own timers wait in whole milliseconds when nothing else runs.
func sleep(d time.Duration) {
	span := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&span, nil)
}
