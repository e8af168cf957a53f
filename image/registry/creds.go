package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
)

// hubKey is docker.io's in Docker's config.json.
const hubKey = "https://index.docker.io/v1/"

// Credentials finds what to say to a server.
type Credentials interface {
	// For is the credentials for the server; the zero value where there are none.
	For(server string) (authn.AuthConfig, error)
}

// dockerConfig reads Docker's config.json, with its credential helpers.
type dockerConfig struct {
	once sync.Once
	file *configfile.ConfigFile
}

// load reads it once. Where it cannot be read there are no credentials, and the
// standard error says why, as Docker's client does: what is public can be had.
func (d *dockerConfig) load() *configfile.ConfigFile {
	d.once.Do(func() {
		var err error
		if d.file, err = loadDockerConfig(); err != nil {
			fmt.Fprintln(os.Stderr, "WARNING: Error", err)
			d.file = configfile.New("")
		}
	})
	return d.file
}

// loadDockerConfig reads DOCKER_CONFIG/config.json, or that in the home directory.
func loadDockerConfig() (*configfile.ConfigFile, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		// Not os.UserHomeDir's error: an init script may have no HOME.
		home := os.Getenv("HOME")
		if home == "" {
			home = "/root"
			if os.Geteuid() != 0 {
				return configfile.New(""), nil
			}
		}
		dir = filepath.Join(home, ".docker")
	}
	f, err := config.Load(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return f, nil
}

// key is under which name a server's credentials are kept.
func key(server string) string {
	if server == hubHost || server == "docker.io" || server == "index.docker.io" {
		return hubKey
	}
	return server
}

func (d *dockerConfig) For(server string) (authn.AuthConfig, error) {
	a, err := d.load().GetAuthConfig(key(server))
	if err != nil {
		return authn.AuthConfig{}, fmt.Errorf("credentials for %s: %w", server, err)
	}
	return authConfig(a), nil
}

func authConfig(a types.AuthConfig) authn.AuthConfig {
	return authn.AuthConfig{Username: a.Username, Password: a.Password, Auth: a.Auth, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
}

// Save keeps credentials for a server as Docker does, with Docker's warning on
// the standard error where that is a plain file.
func Save(server, username, password string) error {
	f, err := loadDockerConfig()
	if err != nil {
		return err
	}
	a := types.AuthConfig{Username: username, Password: password, ServerAddress: key(server)}
	if err := f.GetCredentialsStore(key(server)).Store(a); err != nil {
		return fmt.Errorf("error saving credentials: %w", err)
	}
	return nil
}

func helped(f *configfile.ConfigFile, key string) bool {
	return f.CredentialsStore != "" || f.CredentialHelpers[key] != ""
}

// Erase forgets the credentials for a server, and tells whether there were any.
func Erase(server string) (bool, error) {
	f, err := loadDockerConfig()
	if err != nil {
		return false, err
	}
	k := key(server)
	_, had := f.AuthConfigs[k]
	if !had && !helped(f, k) {
		return false, nil
	}
	if err := f.GetCredentialsStore(k).Erase(k); err != nil {
		return true, fmt.Errorf("could not erase credentials: %w", err)
	}
	return true, nil
}

// Existing is the credentials for a server, if there are any.
func Existing(server string) (username, password string, err error) {
	a, err := (&dockerConfig{}).For(server)
	return a.Username, a.Password, err
}
