package stream

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Client is a connection to a monitor.
type Client struct {
	c    *net.UnixConn
	r    *bufio.Reader
	lock sync.Mutex
}

// Dial connects to the monitor whose socket is in dir.
func Dial(dir string, req Request) (*Client, error) {
	d, addr, err := address(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	c, err := net.DialUnix("unix", nil, addr)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(req)
	if err == nil {
		_, err = c.Write(append(line, '\n'))
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return &Client{c: c, r: bufio.NewReaderSize(c, bufSize)}, nil
}

// Ask gives an order to the monitor whose socket is in dir, and waits for the answer,
// not longer than patience.
func Ask(dir string, o Order, patience time.Duration) (Answer, error) {
	c, err := Dial(dir, Request{Order: &o})
	if err != nil {
		return Answer{}, err
	}
	defer c.Close()
	var a Answer
	c.c.SetReadDeadline(time.Now().Add(patience))
	line, err := c.r.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	return a, err
}

// During gives an order that holds until undo is called, or this process ends.
func During(dir string, o Order, patience time.Duration) (a Answer, undo func() error, err error) {
	c, err := Dial(dir, Request{Order: &o})
	if err != nil {
		return Answer{}, nil, err
	}
	answer := func() (a Answer, err error) {
		c.c.SetReadDeadline(time.Now().Add(patience))
		line, err := c.r.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &a)
		}
		return a, err
	}
	if a, err = answer(); err != nil || a.Err != "" {
		c.Close()
		return a, nil, err
	}
	return a, func() error {
		defer c.Close()
		if c.c.CloseWrite() != nil {
			return nil // it is gone, and the container with it
		}
		_, err := answer()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			err = nil
		}
		return err
	}, nil
}

// Close leaves.
func (c *Client) Close() error { return c.c.Close() }

func (c *Client) send(kind byte, data []byte) error {
	_, err := frames{c.c, &c.lock, kind}.Write(data)
	return err
}

// Write sends stdin.
func (c *Client) Write(p []byte) (int, error) {
	if err := c.send(frameIn, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseStdin ends stdin.
func (c *Client) CloseStdin() error { return c.send(frameInEOF, nil) }

// Resize sends the terminal's size.
func (c *Client) Resize(rows, cols uint16) error {
	var data [4]byte
	binary.BigEndian.PutUint16(data[:], rows)
	binary.BigEndian.PutUint16(data[2:], cols)
	return c.send(frameSize, data[:])
}

// Signal sends a signal to the process.
func (c *Client) Signal(sig syscall.Signal) error { return c.send(frameSignal, []byte{byte(sig)}) }

// Leave says that the keys to detach were typed, and leaves.
func (c *Client) Leave() {
	_ = c.send(frameLeave, nil)
	c.Close()
}

// Listen writes output to stdout and stderr until the process has ended. ok is
// false when the monitor died without a word.
func (c *Client) Listen(stdout, stderr io.Writer) (code int, ok bool, err error) {
	for {
		kind, data, err := readFrame(c.r)
		if err != nil {
			return 0, false, nil
		}
		switch kind {
		case frameExit:
			if len(data) == 4 {
				return int(int32(binary.BigEndian.Uint32(data))), true, nil
			}
		case frameOut:
			_, err = stdout.Write(data)
		case frameErr:
			_, err = stderr.Write(data)
		}
		if err != nil {
			return 0, false, err
		}
	}
}

// Detacher reads until a sequence of keys was typed, which it does not pass on.
type Detacher struct {
	R    io.Reader
	Keys []byte
	held int // how much of Keys was seen
}

// ErrDetached says that the keys were typed.
type ErrDetached struct{}

func (ErrDetached) Error() string { return "read escape sequence" }

func (d *Detacher) Read(p []byte) (int, error) {
	if len(d.Keys) == 0 {
		return d.R.Read(p)
	}
	for {
		// Room for what was held back and turns out not to be the sequence.
		in := make([]byte, max(1, len(p)-len(d.Keys)))
		n, err := d.R.Read(in)
		out := p[:0]
		for _, b := range in[:n] {
			if b == d.Keys[d.held] {
				if d.held++; d.held == len(d.Keys) {
					return len(out), ErrDetached{}
				}
				continue
			}
			out = append(out, d.Keys[:d.held]...)
			d.held = 0
			if b == d.Keys[0] {
				d.held = 1
				continue
			}
			out = append(out, b)
		}
		if err != nil {
			out = append(out, d.Keys[:d.held]...)
			d.held = 0
			return len(out), err
		}
		if len(out) > 0 {
			return len(out), nil
		}
	}
}
