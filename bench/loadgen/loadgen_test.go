package main

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHistogramKeepsValuesWithinOnePercent(t *testing.T) {
	for value := uint64(1); value < 1<<40; value = value*5/4 + 1 {
		if got := middle(bucket(value)); math.Abs(got-float64(value)) > 0.008*float64(value)+0.5 {
			t.Fatalf("%d became %f", value, got)
		}
	}
	h := &histogram{}
	for i := 1; i <= 1000; i++ {
		h.record(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]float64{0.5: 500, 0.99: 990, 1: 1000} {
		if got := h.quantile(q); math.Abs(got-want) > 0.01*want {
			t.Errorf("quantile %g: %f, want %f", q, got, want)
		}
	}
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func tokens(n int) [][]byte {
	made := make([][]byte, n)
	for i := range made {
		made[i] = []byte(fmt.Sprintf("t%d", i))
	}
	return made
}

func TestFreshTokensAreSentOnceEachAndThenItStops(t *testing.T) {
	var lock sync.Mutex
	seen := map[string]int{}
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		lock.Lock()
		seen[r.Header.Get("authorization")]++
		lock.Unlock()
	})
	p := &plan{addr: addr, host: "h", method: "POST", path: "/", conns: 3, fresh: true, body: []byte("{}"), tokens: tokens(50)}
	r, err := p.run(0, time.Minute, 200)
	if err != nil || r.Requests != 50 || r.Errors != 0 || !r.Exhausted || r.TokensUsed != 50 || len(seen) != 50 {
		t.Fatal(err, r, len(seen))
	}
}

func TestWrongStatusesAndBrokenConnectionsAreErrors(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("authorization") {
		case "Bearer t0":
			w.WriteHeader(403)
		case "Bearer t1":
			panic(http.ErrAbortHandler)
		}
	})
	p := &plan{addr: addr, host: "h", method: "GET", path: "/", conns: 1, fresh: true, tokens: tokens(5)}
	r, err := p.run(0, time.Minute, 200)
	if err != nil || r.Errors != 2 || r.Failed != 1 || r.Statuses["403"] != 1 || r.Statuses["200"] != 3 || r.Fault == "" {
		t.Fatal(err, r)
	}
}

func TestOpenLoopCountsTheTimeThatARequestWaitedForAConnection(t *testing.T) {
	addr := serve(t, func(http.ResponseWriter, *http.Request) { time.Sleep(20 * time.Millisecond) })
	p := &plan{addr: addr, host: "h", method: "GET", path: "/", conns: 1, rate: 200, tokens: tokens(1)}
	r, err := p.run(0, 500*time.Millisecond, 200)
	// 100 requests due within 500 ms on a connection that answers at most 25 of them: the last wait ever longer.
	if err != nil || r.MaxUs < 500e3 || r.P50Us < 100e3 {
		t.Fatal(err, r)
	}
}
