package engine

import (
	"strconv"
	"strings"

	"coracle/engine/events"
	"coracle/engine/record"

	"github.com/moby/moby/api/types/container"
)

// execution is one more process of a container, known as long as we stay with it.
type execution struct {
	e    *Engine
	c    *record.Container
	id   string
	lock *record.Lock
}

// begun makes it known. One that cannot be (a full disk) is run all the same.
func begun(e *Engine, c *record.Container, req *container.ExecCreateRequest) *execution {
	x := &execution{e: e, c: c, id: newID()}
	x.lock, _ = c.AddExec(x.id)
	line := ": " + strings.Join(req.Cmd, " ")
	happened(e, c, events.Action("exec_create"+line), "execID", x.id)
	happened(e, c, events.Action("exec_start"+line), "execID", x.id)
	return x
}

func (x *execution) ended(code int, err error) {
	if err == nil {
		happened(x.e, x.c, "exec_die", "execID", x.id, "exitCode", strconv.Itoa(code))
	}
	x.c.DropExec(x.id, x.lock)
}

func (x *execution) left() { happened(x.e, x.c, "exec_detach", "execID", x.id) }
