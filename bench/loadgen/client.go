package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// client is one keep-alive connection. After an error, or when the peer ends it, the next request opens another.
type client struct {
	plan       *plan
	head, tail []byte // the request before and after the token
	out        []byte
	conn       net.Conn
	in         *bufio.Reader
	until      time.Time
}

func newClient(p *plan) *client {
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nhost: %s\r\nuser-agent: extauthz-loadgen\r\nauthorization: Bearer ", p.method, p.path, p.host)
	tail := "\r\n\r\n"
	if len(p.body) > 0 {
		tail = fmt.Sprintf("\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", len(p.body), p.body)
	}
	return &client{plan: p, head: []byte(head), tail: []byte(tail)}
}

func (c *client) deadline(at time.Time) {
	c.until = at
	if c.conn != nil {
		_ = c.conn.SetDeadline(at)
	}
}

func (c *client) connect() error {
	conn, err := net.DialTimeout("tcp", c.plan.addr, 5*time.Second)
	if err != nil {
		return err
	}
	if c.plan.tls != nil {
		secured := tls.Client(conn, c.plan.tls)
		if err := secured.Handshake(); err != nil {
			conn.Close()
			return err
		}
		conn = secured
	}
	c.conn, c.in = conn, bufio.NewReaderSize(conn, 8192)
	if !c.until.IsZero() {
		_ = conn.SetDeadline(c.until)
	}
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// do sends one request and reads the whole answer.
func (c *client) do(token []byte) (int, error) {
	if c.conn == nil {
		if err := c.connect(); err != nil {
			return 0, err
		}
	}
	c.out = append(append(append(c.out[:0], c.head...), token...), c.tail...)
	if _, err := c.conn.Write(c.out); err != nil {
		c.close()
		return 0, err
	}
	status, last, err := c.answer()
	if err != nil || last {
		c.close()
	}
	return status, err
}

// answer: the status, and whether the peer ends the connection. Envoy gives every answer of ours a content-length.
func (c *client) answer() (status int, last bool, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, true, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, true, errors.New("the answer is not HTTP/1.1")
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil || status < 100 || status > 599 {
		return 0, true, errors.New("the answer has no status")
	}
	length := -1
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, true, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case len(name) == 14 && strings.EqualFold(string(name), "content-length"):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, true, err
			}
		case len(name) == 10 && strings.EqualFold(string(name), "connection"):
			last = strings.EqualFold(string(bytes.TrimSpace(value)), "close")
		}
	}
	if length < 0 {
		return 0, true, errors.New("the answer has no content-length")
	}
	_, err = c.in.Discard(length)
	return status, last, err
}

// cpuTime is what this process has used so far, user and system.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
