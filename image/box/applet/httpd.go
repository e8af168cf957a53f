package applet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func httpd(c *call) int {
	o := c.opts("fp:h:t:nvT:", "port=p")
	c.want(0, 1)
	addr := o.str('p', "80")
	if !strings.Contains(addr, ":") {
		addr = ":" + addr
	}
	dir := o.str('h', ".")
	if len(c.args) == 1 {
		dir = c.args[0]
	}
	var handler http.Handler
	switch {
	case o.has('t'):
		handler = text(o.str('t', ""))
	case o.has('n'):
		host, err := os.Hostname()
		if err != nil {
			c.die("%v", err)
		}
		handler = text(host)
	default:
		if fi, err := os.Stat(c.path(dir)); err != nil || !fi.IsDir() {
			c.die("%s: not a directory", dir)
		}
		handler = http.FileServer(http.Dir(c.path(dir)))
	}
	if o.has('v') {
		inner := handler
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(c.Err, "%s %s %s\n", r.RemoteAddr, r.Method, r.URL)
			inner.ServeHTTP(w, r)
		})
	}
	ln, err := (&net.ListenConfig{}).Listen(c.ctx, "tcp", addr)
	if err != nil {
		c.die("listen on %s: %s", addr, netReason(err))
	}
	if strings.HasSuffix(addr, ":0") {
		// The kernel chose: say what.
		c.print(ln.Addr().String(), "\n")
		c.out.Flush()
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(c.ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
		c.die("%v", err)
	}
	return 0
}

// text answers every request with the same line.
func text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, s+"\n")
	})
}
