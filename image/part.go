package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"coracle/internal/sys"
)

// DigestError says that bytes are not what they were said to be. It is
// ErrInvalid.
type DigestError struct{ Want, Got string }

func (e *DigestError) Error() string {
	return fmt.Sprintf("filesystem layer verification failed for digest %s: the bytes that came have %s", e.Want, e.Got)
}

// Unwrap makes it ErrInvalid.
func (e *DigestError) Unwrap() error { return ErrInvalid }

// writeAt is how many bytes come before the kernel is asked to write them: the sync
// at the end would wait for all of them else.
const writeAt = 8 << 20

// ErrRestarted is for readers of a part whose beginning turned out to be wrong:
// read it again.
var ErrRestarted = errors.New("the blob is received anew")

// Part is a blob on its way in. One goroutine writes it, in order; others may
// read what has come meanwhile.
type Part struct {
	digest string
	size   int64
	path   string
	file   *os.File // locked; nil for a blob of the store

	mu    sync.Mutex
	more  *sync.Cond
	hash  hash.Hash
	have  int64 // bytes written and hashed
	kept  int64 // bytes of an earlier attempt that nobody has hashed yet
	began int64 // how many bytes that were
	begun int64 // as far as the kernel was asked to write
	era   int   // how often it was begun anew
	done  bool  // complete and right
	err   error // why there will be no more
}

func newPart(l Layer, f *os.File) (*Part, error) {
	fi, err := f.Stat()
	if err != nil {
		unlockFile(f)
		return nil, err
	}
	p := &Part{digest: l.Digest, size: l.Size, path: f.Name(), file: f, hash: sha256.New(), kept: fi.Size()}
	p.more = sync.NewCond(&p.mu)
	if p.kept > p.size {
		return p, p.Reset()
	}
	return p, nil
}

func presentPart(l Layer, path string) *Part {
	p := &Part{digest: l.Digest, size: l.Size, path: path, have: l.Size, done: true}
	p.more = sync.NewCond(&p.mu)
	return p
}

// Done tells whether the blob is complete and its digest right.
func (p *Part) Done() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// Resume reads what an earlier attempt has left, and tells how many bytes are
// there: where to go on.
func (p *Part) Resume(ctx context.Context) (have int64, err error) {
	if p.kept > 0 {
		buf := make([]byte, 256<<10)
		for p.kept > 0 && err == nil {
			var n int
			n, err = p.file.ReadAt(buf[:min(p.kept, int64(len(buf)))], p.have)
			p.add(buf[:n])
			p.kept -= int64(n)
			if err == nil {
				err = ctx.Err()
			}
		}
		if err != nil {
			return p.have, err
		}
		p.began = p.have
	}
	return p.have, nil
}

// Kept tells whether an earlier attempt has left bytes.
func (p *Part) Kept() bool { return p.kept > 0 }

// Resumed tells whether some of the bytes are an earlier attempt's.
func (p *Part) Resumed() bool { return p.began > 0 }

func (p *Part) add(b []byte) {
	p.hash.Write(b)
	p.mu.Lock()
	p.have += int64(len(b))
	p.mu.Unlock()
	p.more.Broadcast()
}

// Write appends. More than the blob's size is an error.
func (p *Part) Write(b []byte) (int, error) {
	if p.have+int64(len(b)) > p.size {
		return 0, fmt.Errorf("%w: layer %s is longer than the %d bytes that its manifest says", ErrInvalid, p.digest, p.size)
	}
	n, err := p.file.WriteAt(b, p.have)
	p.add(b[:n])
	if p.have-p.begun >= writeAt {
		sys.StartWrite(int(p.file.Fd()), p.begun, p.have-p.begun)
		p.begun = p.have
	}
	if err != nil {
		return n, &LocalError{err}
	}
	return n, nil
}

// LocalError is a failure of this machine's disk, which no further attempt mends.
type LocalError struct{ Err error }

func (e *LocalError) Error() string { return e.Err.Error() }
func (e *LocalError) Unwrap() error { return e.Err }

// Finish checks the digest and makes the bytes durable. A *DigestError has thrown
// the bytes away.
func (p *Part) Finish() error {
	if p.have < p.size {
		return io.ErrUnexpectedEOF
	}
	if got := sumOf(p.hash); got != p.digest {
		return errors.Join(&DigestError{p.digest, got}, p.Reset())
	}
	p.mu.Lock()
	p.done = true
	p.mu.Unlock()
	p.more.Broadcast()
	return nil
}

// Sync makes the bytes durable.
func (p *Part) Sync() error {
	if p.file == nil {
		return nil
	}
	if err := p.file.Sync(); err != nil {
		return &LocalError{err}
	}
	return nil
}

// Reset throws the bytes away.
func (p *Part) Reset() error {
	p.mu.Lock()
	p.have, p.kept, p.began, p.begun, p.done = 0, 0, 0, 0, false
	p.era++
	p.hash.Reset()
	p.mu.Unlock()
	p.more.Broadcast()
	if err := p.file.Truncate(0); err != nil {
		return &LocalError{err}
	}
	return nil
}

// Fail tells the readers that there will be no more. After an error of the disk
// the bytes are thrown away: they may be what fills it.
func (p *Part) Fail(err error) {
	var local *LocalError
	if errors.As(err, &local) && p.file != nil {
		p.Reset()
	}
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	p.more.Broadcast()
}

// release lets go of the file; drop deletes what was not committed.
func (p *Part) release(drop bool) {
	p.Fail(os.ErrClosed)
	if p.file == nil {
		return
	}
	if drop || p.have+p.kept == 0 {
		os.Remove(p.path)
	}
	unlockFile(p.file)
}

// Following reads a blob while it is received.
type Following struct {
	ctx  context.Context
	part *Part
	file *os.File
	stop func() bool
	at   int64
	era  int
	read func(n int64)
	shut bool // closed
}

// Follow opens the blob from its beginning. It ends when all has come and the
// digest was right, and not before.
func (p *Part) Follow(ctx context.Context) (*Following, error) {
	f, err := os.Open(p.path)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	era := p.era
	p.mu.Unlock()
	return &Following{ctx: ctx, part: p, file: f, era: era, stop: context.AfterFunc(ctx, p.more.Broadcast)}, nil
}

func (f *Following) Read(b []byte) (int, error) {
	n, err := f.wait()
	if err != nil || n == 0 {
		return 0, err
	}
	got, err := f.file.ReadAt(b[:min(int64(len(b)), n)], f.at)
	f.at += int64(got)
	if f.read != nil {
		f.read(f.at)
	}
	if got > 0 {
		err = nil
	}
	return got, err
}

// wait blocks until there is something to read, and tells how much.
func (f *Following) wait() (int64, error) {
	p := f.part
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case f.shut:
			return 0, os.ErrClosed
		case f.ctx.Err() != nil:
			return 0, f.ctx.Err()
		case p.era != f.era:
			return 0, ErrRestarted
		case f.at < p.have:
			return p.have - f.at, nil
		case p.done:
			return 0, io.EOF
		case p.err != nil:
			return 0, p.err
		}
		p.more.Wait()
	}
}

// Close lets the file go, and ends a Read that waits.
func (f *Following) Close() error {
	f.stop()
	f.part.mu.Lock()
	f.shut = true
	f.part.mu.Unlock()
	f.part.more.Broadcast()
	return f.file.Close()
}

// checkFile compares a file with a digest.
func checkFile(ctx context.Context, path, digest string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{ctxReader{ctx, f}}, make([]byte, 256<<10)); err != nil {
		return err
	}
	if got := sumOf(h); got != digest {
		return &DigestError{digest, got}
	}
	return nil
}

// waitLock opens and locks the file at path, which others may rename or delete
// meanwhile.
func waitLock(ctx context.Context, path string) (*os.File, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		f, err := tryLock(path)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, os.ErrNotExist) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// tryLock fails with EWOULDBLOCK when another holds the file, and with ErrNotExist
// when it was renamed or deleted at that moment.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	mine, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Lstat(path); err == nil && os.SameFile(mine, there) {
			return f, nil
		}
		err = os.ErrNotExist
	}
	unlockFile(f)
	return nil, err
}
