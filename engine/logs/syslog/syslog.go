// Package syslog writes lines to a syslog server: a unix socket, UDP, TCP or TLS,
// in the formats of RFC 3164 and RFC 5424 as Docker's driver has them.
package syslog

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// The severities of the two streams.
const (
	info = 6
	bad  = 3
)

// patience is how long a server may take to connect or to take a line.
const patience = 2 * time.Second

// Conn is a connection to a server. It is made at the first line, and again, not
// more often than once a second, after it broke.
type Conn struct {
	network, addr string
	local         []string // sockets to try where no address was given
	tls           *tls.Config
	facility      int
	format        string
	tag, host     string
	conn          net.Conn
	next          time.Time
	last          error
}

// New reads the options of the driver; nothing is connected yet.
func New(o map[string]string, tag string) (*Conn, error) {
	c := &Conn{tag: tag, format: o["syslog-format"]}
	switch c.format {
	case "", "rfc3164", "rfc5424", "rfc5424micro":
	default:
		return nil, errors.New("Invalid syslog format")
	}
	var err error
	if c.facility, err = facility(o["syslog-facility"]); err != nil {
		return nil, err
	}
	if err := c.address(o["syslog-address"]); err != nil {
		return nil, err
	}
	if c.network == "tcp+tls" {
		if c.tls, err = tlsConfig(o); err != nil {
			return nil, err
		}
	}
	c.host, _ = os.Hostname()
	return c, nil
}

func (c *Conn) address(text string) error {
	if text == "" {
		c.local = []string{"/dev/log", "/var/run/syslog", "/var/run/log"}
		return nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	c.network = u.Scheme
	switch u.Scheme {
	case "unix", "unixgram":
		if _, err := os.Stat(u.Path); err != nil {
			return err
		}
		c.addr = u.Path
	case "udp", "tcp", "tcp+tls":
		c.addr = u.Host
		if _, _, err := net.SplitHostPort(u.Host); err != nil {
			if !strings.Contains(err.Error(), "missing port in address") {
				return err
			}
			c.addr = net.JoinHostPort(strings.Trim(u.Host, "[]"), "514")
		}
	default:
		return fmt.Errorf("syslog-address should be in form proto://address, got %v", text)
	}
	return nil
}

func facility(text string) (int, error) {
	names := []string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
	if text == "" {
		text = "daemon"
	}
	for n, name := range names {
		if name == text {
			return n, nil
		}
	}
	if n, err := strconv.Atoi(text); err == nil && n >= 0 && n <= 23 {
		return n, nil
	}
	return 0, errors.New("invalid syslog facility")
}

func tlsConfig(o map[string]string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o["syslog-tls-skip-verify"] != ""}
	if path := o["syslog-tls-ca-cert"]; path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", path)
		}
	}
	if cert := o["syslog-tls-cert"]; cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, o["syslog-tls-key"])
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// Connect connects, unless that was tried and failed a moment ago.
func (c *Conn) Connect() error {
	if c.conn != nil {
		return nil
	}
	if time.Now().Before(c.next) {
		return c.last
	}
	d := net.Dialer{Timeout: patience}
	var conn net.Conn
	var err error
	switch {
	case c.local != nil:
		err = errors.New("unix syslog delivery error: no local syslog socket")
		for _, path := range c.local {
			for _, kind := range []string{"unixgram", "unix"} {
				if conn, e := d.Dial(kind, path); e == nil {
					c.conn, c.network = conn, kind
					return nil
				}
			}
		}
	case c.tls != nil:
		conn, err = tls.DialWithDialer(&d, "tcp", c.addr, c.tls)
		if err != nil {
			conn = nil
		}
	case c.network == "unix":
		// A socket of either kind (Docker's unix:// takes both).
		if conn, err = d.Dial("unix", c.addr); err != nil {
			conn, err = d.Dial("unixgram", c.addr)
		}
	default:
		conn, err = d.Dial(c.network, c.addr)
	}
	c.last = err
	if err != nil {
		c.next = time.Now().Add(time.Second)
		return err
	}
	c.conn = conn
	return nil
}

// Send writes one line. A connection that broke is made again, once.
func (c *Conn) Send(stderr bool, at time.Time, line []byte) error {
	severity := info
	if stderr {
		severity = bad
	}
	msg := c.message(c.facility<<3|severity, at, line)
	var err error
	for range 2 {
		if err = c.Connect(); err != nil {
			return err
		}
		c.conn.SetWriteDeadline(time.Now().Add(patience))
		if _, err = c.conn.Write(msg); err == nil {
			return nil
		}
		slow := errors.Is(err, os.ErrDeadlineExceeded)
		c.Close()
		if slow {
			// It is there and takes nothing: not to be asked at each line.
			c.last, c.next = err, time.Now().Add(time.Second)
			return err
		}
	}
	return err
}

// message puts the line into the format.
func (c *Conn) message(priority int, at time.Time, line []byte) []byte {
	line = []byte(strings.TrimRight(string(line), "\n"))
	pid := os.Getpid()
	var msg []byte
	switch c.format {
	case "":
		msg = fmt.Appendf(nil, "<%d>%s %s[%d]: %s", priority, at.Format(time.Stamp), c.tag, pid, line)
	case "rfc3164":
		msg = fmt.Appendf(nil, "<%d>%s %s %s[%d]: %s", priority, at.Format(time.Stamp), c.host, c.tag, pid, line)
	default:
		layout := time.RFC3339
		if c.format == "rfc5424micro" {
			layout = "2006-01-02T15:04:05.000000Z07:00"
		}
		msg = fmt.Appendf(nil, "<%d>1 %s %s %s %d %s - %s", priority, at.Format(layout), c.host, c.tag, pid, c.tag, line)
	}
	if c.tls != nil && strings.HasPrefix(c.format, "rfc5424") {
		return fmt.Appendf(nil, "%d %s", len(msg), msg) // RFC 5425: the length in front
	}
	return append(msg, '\n')
}

// Close closes the connection.
func (c *Conn) Close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
