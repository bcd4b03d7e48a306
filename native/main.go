// OPA as a C library, for extauthz/policy/embedded.py.
//
// Every function takes byte ranges with their length and writes its answer into a buffer of the caller, so that no
// memory changes owner. The answer's length is returned; a negative number is one of the codes below, and the buffer
// then holds a message that ends with a zero byte. Load the library after fork; a process that loaded it never forks.
package main

// #include <stdint.h>
// #include <stddef.h>
import "C"

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"extauthz/native/policy"
)

const (
	undefined = -1
	deadline  = -2
	failed    = -3
	tooLarge  = -4
	unknown   = -5
	badInput  = -6
	panicked  = -7
)

var (
	mu     sync.RWMutex
	loaded = map[uint64]*policy.Policy{}
	last   uint64
)

//export extauthz_load
func extauthz_load(bundle unsafe.Pointer, bundleLen C.size_t, handle *C.uint64_t, out unsafe.Pointer, outCap C.size_t) (code C.int64_t) {
	defer recovered(out, outCap, &code)
	made, problems := policy.Load(context.Background(), C.GoBytes(bundle, C.int(bundleLen)))
	if made == nil {
		text, err := json.Marshal(problems)
		if err != nil {
			return fail(out, outCap, err)
		}
		return write(out, outCap, text)
	}
	mu.Lock()
	defer mu.Unlock()
	last++
	loaded[last] = made
	*handle = C.uint64_t(last)
	return 0
}

//export extauthz_describe
func extauthz_describe(handle C.uint64_t, entrypoints unsafe.Pointer, entrypointsLen C.size_t, out unsafe.Pointer, outCap C.size_t) (code C.int64_t) {
	defer recovered(out, outCap, &code)
	p := get(handle)
	if p == nil {
		return unknown
	}
	var asked []string
	if err := json.Unmarshal(view(entrypoints, entrypointsLen), &asked); err != nil {
		return fail(out, outCap, err)
	}
	declared := p.Entrypoints()
	analyses := map[string]policy.Analysis{}
	for _, entrypoint := range append(asked, declared...) {
		analysis, err := p.Analyse(entrypoint)
		if err != nil {
			return fail(out, outCap, err)
		}
		analyses[entrypoint] = analysis
	}
	text, err := json.Marshal(map[string]any{"problems": []policy.Problem{}, "declared": declared, "analyses": analyses})
	if err != nil {
		return fail(out, outCap, err)
	}
	return write(out, outCap, text)
}

//export extauthz_eval
func extauthz_eval(handle C.uint64_t, entrypoint unsafe.Pointer, entrypointLen C.size_t, input unsafe.Pointer, inputLen C.size_t, timeoutMicros C.int64_t, out unsafe.Pointer, outCap C.size_t) (code C.int64_t) {
	defer recovered(out, outCap, &code)
	p := get(handle)
	if p == nil {
		return unknown
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(timeoutMicros)*time.Microsecond)
	defer cancel()
	result, err := p.Eval(ctx, string(view(entrypoint, entrypointLen)), view(input, inputLen))
	switch {
	case err == nil:
		return write(out, outCap, result)
	case errors.Is(err, policy.ErrUndefined):
		return undefined
	case errors.Is(err, policy.ErrDeadline):
		return deadline
	case errors.Is(err, policy.ErrInput):
		return badInput
	}
	return fail(out, outCap, err)
}

//export extauthz_free
func extauthz_free(handle C.uint64_t) {
	mu.Lock()
	defer mu.Unlock()
	delete(loaded, uint64(handle))
}

func get(handle C.uint64_t) *policy.Policy {
	mu.RLock()
	defer mu.RUnlock()
	return loaded[uint64(handle)]
}

func view(at unsafe.Pointer, length C.size_t) []byte {
	return unsafe.Slice((*byte)(at), int(length))
}

func write(out unsafe.Pointer, outCap C.size_t, text []byte) C.int64_t {
	if len(text) > int(outCap) {
		return tooLarge
	}
	copy(view(out, outCap), text)
	return C.int64_t(len(text))
}

func fail(out unsafe.Pointer, outCap C.size_t, err error) C.int64_t {
	if outCap > 0 {
		target := view(out, outCap)
		target[copy(target[:outCap-1], err.Error())] = 0
	}
	return failed
}

func recovered(out unsafe.Pointer, outCap C.size_t, code *C.int64_t) {
	if cause := recover(); cause != nil {
		fail(out, outCap, fmt.Errorf("panic: %v", cause))
		*code = panicked
	}
}

func main() {}
