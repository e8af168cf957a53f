package sys

import "golang.org/x/sys/unix"

// Rights are the descriptors that came with a message, from its control data
// (unix(7), SCM_RIGHTS).
func Rights(oob []byte) ([]int, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var all []int
	for i := range msgs {
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			all = append(all, fds...)
		}
	}
	return all, nil
}
