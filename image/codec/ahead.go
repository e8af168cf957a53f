package codec

import (
	"io"
	"sync"
)

// How far ahead: enough that neither side waits for the other at each turn, and
// small beside what a decoder holds.
const (
	aheadBuffers = 4
	aheadSize    = 128 << 10
)

// Ahead reads r in a goroutine of its own, a little ahead of who reads from it: to
// decompress a layer and to write its files each keep a processor busy. Close
// closes r, and does so first, to end a Read that waits.
func Ahead(r io.ReadCloser) io.ReadCloser {
	a := &ahead{r: r, full: make(chan chunk, aheadBuffers), free: make(chan []byte, aheadBuffers), quit: make(chan struct{}), gone: make(chan struct{})}
	for range aheadBuffers {
		a.free <- make([]byte, aheadSize)
	}
	go a.fill()
	return a
}

type chunk struct {
	data []byte
	err  error
}

type ahead struct {
	r    io.ReadCloser
	full chan chunk
	free chan []byte
	quit chan struct{}
	gone chan struct{} // closed when the goroutine has ended
	once sync.Once
	now  chunk  // what is being read
	buf  []byte // whose memory that is
}

func (a *ahead) fill() {
	defer close(a.gone)
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.quit:
			return
		}
		n := 0
		var err error
		for n < len(buf) && err == nil {
			var got int
			got, err = a.r.Read(buf[n:])
			n += got
		}
		a.full <- chunk{buf[:n], err} // there is room for all buffers
		if err != nil {
			return
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.now.data) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.buf != nil {
			a.free <- a.buf[:aheadSize]
			a.buf = nil
		}
		a.now = <-a.full
		a.buf = a.now.data
	}
	n := copy(p, a.now.data)
	a.now.data = a.now.data[n:]
	return n, nil
}

func (a *ahead) Close() error {
	var err error
	a.once.Do(func() {
		close(a.quit)
		err = a.r.Close()
		<-a.gone
	})
	return err
}
