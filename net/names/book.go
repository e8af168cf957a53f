// Package names answers the questions of containers for each other's names.
//
// A [Book] follows the endpoints of the networks that a container is on, as they
// are on disk, and knows their names. A [Server] answers one container from its
// book, over sockets that it is given (package isolate opens them in the
// container's network namespace, so that nobody else can ask), and hands every
// other question to the servers of the host.
//
// Not a name server for strangers: it is recursive for everyone who reaches its
// sockets and passes [Config.Allow].
package names

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"coracle/net/network"
)

// Book is what is known of the endpoints in some networks' directories.
type Book struct {
	mu    sync.Mutex
	dirs  map[string]map[string]*network.Endpoint // by directory and container ID
	index *index                                  // nil: to be made anew
	note  []func()
	watch *watch
	ring  chan struct{}
}

// index is what questions are answered from; nobody changes it.
type index struct {
	names     map[string][]*network.Endpoint
	addrs     map[netip.Addr]*network.Endpoint
	subnets   []netip.Prefix
	container map[string][]*network.Endpoint // by container ID
	all       []*network.Endpoint
}

// Open reads the endpoints in dirs and begins to follow them. A directory need
// not be there yet.
func Open(dirs ...string) (*Book, error) {
	b := &Book{dirs: map[string]map[string]*network.Endpoint{}, ring: make(chan struct{}, 1)}
	b.watch = newWatch(b)
	if err := b.Set(dirs...); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Set changes which directories are followed.
func (b *Book) Set(dirs ...string) error {
	dirs = slices.Clone(dirs)
	for i, dir := range dirs {
		dirs[i] = filepath.Clean(dir)
	}
	b.mu.Lock()
	for dir := range b.dirs {
		if !slices.Contains(dirs, dir) {
			delete(b.dirs, dir)
			b.watch.remove(dir)
		}
	}
	b.index = nil
	b.mu.Unlock()
	for _, dir := range dirs {
		b.mu.Lock()
		_, known := b.dirs[dir]
		if !known {
			b.dirs[dir] = map[string]*network.Endpoint{}
		}
		b.mu.Unlock()
		// Watched before it is read, so that nothing is missed in between.
		if !known {
			b.watch.add(dir)
			if err := b.read(dir); err != nil {
				return err
			}
		}
	}
	b.changed()
	return nil
}

// Close ends following; what is known stays.
func (b *Book) Close() { b.watch.close() }

// Now takes in what has changed up to the call, where the kernel tells of changes.
func (b *Book) Now() { b.watch.now() }

// OnChange has f called after each change, from a goroutine that follows or calls
// Now; f must not block.
func (b *Book) OnChange(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note = append(b.note, f)
}

// Changed gets a value after one or more changes.
func (b *Book) Changed() <-chan struct{} { return b.ring }

func (b *Book) changed() {
	b.mu.Lock()
	b.index = nil
	note := slices.Clone(b.note)
	b.mu.Unlock()
	select {
	case b.ring <- struct{}{}:
	default:
	}
	for _, f := range note {
		f()
	}
}

// read reads a whole directory.
func (b *Book) read(dir string) error {
	eps, err := network.ReadEndpoints(dir)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dirs[dir] == nil {
		return nil
	}
	known := make(map[string]*network.Endpoint, len(eps))
	for _, ep := range eps {
		known[ep.ContainerID] = ep
	}
	b.dirs[dir] = known
	return nil
}

// one reads one endpoint that came, changed or went; whether anything changed.
func (b *Book) one(dir, name string) bool {
	if !network.IsEndpoint(name) {
		return false
	}
	ep, err := network.ReadEndpoint(filepath.Join(dir, name))
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.dirs[dir]
	if known == nil {
		return false
	}
	if err == nil {
		known[name] = ep
		return true
	}
	_, was := known[name]
	delete(known, name)
	return was
}

// Endpoints are all that are known, by container ID and network.
func (b *Book) Endpoints() []*network.Endpoint { return slices.Clone(b.look().all) }

// Lookup returns the addresses of a name, in no order that lasts, and whether
// anything has it. Links are names for container IDs, or for other names, that are
// known to the asker alone, and come first.
func (b *Book) Lookup(name string, links map[string]string) (found []*network.Endpoint, ok bool) {
	ix := b.look()
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for alias, to := range links {
		if strings.EqualFold(alias, name) {
			found = append(found, ix.container[to]...)
			if found == nil {
				found = slices.Clone(ix.names[strings.ToLower(to)])
			}
		}
	}
	if found == nil {
		found = slices.Clone(ix.names[name])
	}
	rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	return found, len(found) > 0
}

// Reverse returns who has an address, and whether the address is of one of the
// networks, so that nobody else is to be asked.
func (b *Book) Reverse(a netip.Addr) (ep *network.Endpoint, ours bool) {
	ix := b.look()
	if ep = ix.addrs[a]; ep != nil {
		return ep, true
	}
	return nil, slices.ContainsFunc(ix.subnets, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (b *Book) look() *index {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.index == nil {
		b.index = b.compile()
	}
	return b.index
}

func (b *Book) compile() *index {
	ix := &index{names: map[string][]*network.Endpoint{}, addrs: map[netip.Addr]*network.Endpoint{}, container: map[string][]*network.Endpoint{}}
	for _, known := range b.dirs {
		for _, ep := range known {
			ix.all = append(ix.all, ep)
		}
	}
	slices.SortFunc(ix.all, func(a, b *network.Endpoint) int {
		return strings.Compare(a.ContainerID+a.NetworkID, b.ContainerID+b.NetworkID)
	})
	for _, ep := range ix.all {
		ix.container[ep.ContainerID] = append(ix.container[ep.ContainerID], ep)
		for _, name := range ep.Names {
			ix.add(strings.ToLower(name), ep)
			if ep.NetworkName != "" {
				ix.add(strings.ToLower(name+"."+ep.NetworkName), ep)
			}
		}
		for _, p := range [...]netip.Prefix{ep.IPv4, ep.IPv6} {
			if p.IsValid() {
				ix.addrs[p.Addr()] = ep
				if m := p.Masked(); !slices.Contains(ix.subnets, m) {
					ix.subnets = append(ix.subnets, m)
				}
			}
		}
	}
	return ix
}

func (ix *index) add(name string, ep *network.Endpoint) {
	if list := ix.names[name]; !slices.Contains(list, ep) {
		ix.names[name] = append(list, ep)
	}
}

// Hosts is what belongs into /etc/hosts for images that ask no name server: a
// line for each address of each endpoint, with the name that it is known by
// first, and then the aliases that the asker alone knows.
func (b *Book) Hosts(links map[string]string) string {
	var out strings.Builder
	for _, ep := range b.look().all {
		var list []string
		for _, name := range ep.Names {
			list = append(list, name)
			if ep.NetworkName != "" && len(list) == 1 {
				list = append(list, name+"."+ep.NetworkName)
			}
		}
		for _, alias := range slices.Sorted(maps.Keys(links)) {
			if ep.Is(links[alias]) && !slices.Contains(list, alias) {
				list = append(list, alias)
			}
		}
		for _, p := range [...]netip.Prefix{ep.IPv4, ep.IPv6} {
			if p.IsValid() && len(list) > 0 {
				out.WriteString(p.Addr().String() + "\t" + strings.Join(list, " ") + "\n")
			}
		}
	}
	return out.String()
}
