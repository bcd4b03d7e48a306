// Command loadgen sends HTTP/1.1 requests over keep-alive connections and prints what it measured as JSON.
//
// Closed loop (-rate 0): each connection sends its next request when the last is answered; this finds the limit.
// Open loop (-rate R): request i is due at start + i/R, and its latency counts from when it was due, also when no
// connection was free to send it: a slow answer delays what comes after it (no coordinated omission).
//
// It writes requests itself, in place of net/http, because it shares the machine with what it measures.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

type plan struct {
	addr, host, method, path string
	conns                    int
	rate                     float64
	body                     []byte
	tls                      *tls.Config
	tokens                   [][]byte
	fresh                    bool         // each token is sent once; otherwise they take turns
	next                     atomic.Int64 // the next token
	exhausted                atomic.Bool
}

// token returns nil when every token has been sent.
func (p *plan) token() []byte {
	i := p.next.Add(1) - 1
	if !p.fresh {
		return p.tokens[i%int64(len(p.tokens))]
	}
	if i >= int64(len(p.tokens)) {
		p.exhausted.Store(true)
		return nil
	}
	return p.tokens[i]
}

type tally struct {
	hist     histogram
	statuses [600]int64
	failed   int64 // no whole answer came
	fault    error
}

func (t *tally) merge(o *tally) {
	t.hist.merge(&o.hist)
	for i, n := range o.statuses {
		t.statuses[i] += n
	}
	t.failed += o.failed
	if t.fault == nil {
		t.fault = o.fault
	}
}

// load runs for d on the given connections; what is under way at the end is finished and counted.
func (p *plan) load(conns []*client, d time.Duration) (*tally, time.Duration) {
	start := time.Now()
	end := start.Add(d)
	var due chan time.Time
	if p.rate > 0 {
		due = make(chan time.Time)
		go p.schedule(due, start, end)
	}
	tallies := make([]*tally, len(conns))
	var group sync.WaitGroup
	for i, c := range conns {
		tallies[i] = &tally{}
		group.Add(1)
		go func() {
			defer group.Done()
			c.deadline(end.Add(10 * time.Second))
			p.work(c, tallies[i], due, end)
		}()
	}
	group.Wait()
	elapsed := time.Since(start)
	total := &tally{}
	for _, t := range tallies {
		total.merge(t)
	}
	return total, elapsed
}

// schedule hands over due times; it blocks while every connection is busy, the due times stay what they were.
func (p *plan) schedule(due chan<- time.Time, start, end time.Time) {
	defer close(due)
	interval := float64(time.Second) / p.rate
	for i := 0; ; i++ {
		at := start.Add(time.Duration(float64(i) * interval))
		if at.After(end) {
			return
		}
		if wait := time.Until(at); wait > 0 {
			sleep(wait)
		}
		due <- at
	}
}

func (p *plan) work(c *client, t *tally, due <-chan time.Time, end time.Time) {
	for {
		var from time.Time
		if due != nil {
			at, more := <-due
			if !more {
				return
			}
			from = at
		} else if from = time.Now(); !from.Before(end) {
			return
		}
		token := p.token()
		if token == nil {
			p.drain(due)
			return
		}
		status, err := c.do(token)
		if err != nil {
			t.failed++
			t.fault = err
			time.Sleep(time.Millisecond)
			continue
		}
		t.hist.record(time.Since(from))
		t.statuses[status]++
	}
}

// drain lets the schedule come to its end.
func (p *plan) drain(due <-chan time.Time) {
	if due == nil {
		return
	}
	for range due {
	}
}

type report struct {
	Requests       int64            `json:"requests"`
	Seconds        float64          `json:"seconds"`
	RPS            float64          `json:"rps"`
	Errors         int64            `json:"errors"` // other statuses than expected, and failed requests
	WarmupErrors   int64            `json:"warmup_errors"`
	Failed         int64            `json:"failed"`
	Fault          string           `json:"fault"`
	Statuses       map[string]int64 `json:"statuses"`
	MeanUs         float64          `json:"mean_us"`
	P50Us          float64          `json:"p50_us"`
	P90Us          float64          `json:"p90_us"`
	P99Us          float64          `json:"p99_us"`
	P999Us         float64          `json:"p999_us"`
	MaxUs          float64          `json:"max_us"`
	TokensUsed     int64            `json:"tokens_used"`
	Exhausted      bool             `json:"exhausted"`
	GeneratorCores float64          `json:"generator_cores"` // CPU seconds of this process per second
}

func (p *plan) run(warmup, d time.Duration, expect int) (*report, error) {
	conns := make([]*client, p.conns)
	for i := range conns {
		conns[i] = newClient(p)
		defer conns[i].close()
		if err := conns[i].connect(); err != nil {
			return nil, err
		}
	}
	warm := &tally{}
	if warmup > 0 {
		warm, _ = p.load(conns, warmup)
	}
	cpu := cpuTime()
	t, elapsed := p.load(conns, d)
	cpu = cpuTime() - cpu
	r := &report{
		Requests: t.hist.count, Seconds: elapsed.Seconds(), RPS: float64(t.hist.count) / elapsed.Seconds(),
		Errors: t.failed + t.hist.count - t.statuses[expect], Failed: t.failed,
		WarmupErrors: warm.failed + warm.hist.count - warm.statuses[expect], Statuses: map[string]int64{},
		MeanUs: t.hist.mean(), P50Us: t.hist.quantile(0.5), P90Us: t.hist.quantile(0.9), P99Us: t.hist.quantile(0.99),
		P999Us: t.hist.quantile(0.999), MaxUs: t.hist.quantile(1), TokensUsed: min(p.next.Load(), int64(len(p.tokens))),
		Exhausted: p.exhausted.Load(), GeneratorCores: cpu.Seconds() / elapsed.Seconds(),
	}
	for status, n := range t.statuses {
		if n > 0 {
			r.Statuses[fmt.Sprint(status)] = n
		}
	}
	if t.fault != nil {
		r.Fault = t.fault.Error()
	}
	return r, nil
}

func readTokens(path string) ([][]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	if len(lines[0]) == 0 {
		return nil, errors.New("no tokens in " + path)
	}
	return lines, nil
}

// tlsConfig trusts only ca, and shows certificate and key; no files, no TLS.
func tlsConfig(ca, certificate, key, name string) (*tls.Config, error) {
	if ca == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + ca)
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, ServerName: name, MinVersion: tls.VersionTLS13}, nil
}

func main() {
	p := &plan{}
	flag.StringVar(&p.addr, "addr", "", "host:port to connect to")
	flag.StringVar(&p.host, "host", "", "Host header")
	flag.StringVar(&p.method, "method", "GET", "method")
	flag.StringVar(&p.path, "path", "/", "path")
	flag.IntVar(&p.conns, "conns", 16, "connections")
	flag.Float64Var(&p.rate, "rate", 0, "requests a second, open loop; 0: closed loop")
	flag.BoolVar(&p.fresh, "fresh", false, "send each token once, and stop when all are sent")
	body := flag.String("body", "", "JSON body")
	tokens := flag.String("tokens", "", "file with one bearer token a line")
	warmup := flag.Duration("warmup", 0, "time before measuring")
	duration := flag.Duration("duration", 5*time.Second, "time of measuring")
	expect := flag.Int("expect", 200, "the status that is right")
	ca := flag.String("tls-ca", "", "PEM file: use TLS and trust only these")
	certificate := flag.String("tls-cert", "", "PEM file of the client certificate")
	key := flag.String("tls-key", "", "PEM file of its key")
	name := flag.String("tls-name", "", "name that the server's certificate must have")
	flag.Parse()
	p.body = []byte(*body)
	var err error
	if p.tokens, err = readTokens(*tokens); err == nil {
		p.tls, err = tlsConfig(*ca, *certificate, *key, *name)
	}
	var r *report
	if err == nil {
		r, err = p.run(*warmup, *duration, *expect)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}
