// Package kind names what a document broke; the texts are those that Compose
// users know.
package kind

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"golang.org/x/text/message"
)

// Type: the value is of another type.
type Type struct {
	Got  string
	Want []string
}

// LocalizedString is the text of the error.
func (k *Type) LocalizedString(*message.Printer) string {
	return fmt.Sprintf("got %s, want %s", k.Got, strings.Join(k.Want, " or "))
}

// Minimum: the number is too small.
type Minimum struct{ Got, Want *big.Rat }

// LocalizedString is the text of the error.
func (k *Minimum) LocalizedString(*message.Printer) string {
	return fmt.Sprintf("minimum: got %s, want %s", k.Got.RatString(), k.Want.RatString())
}

// Maximum: the number is too large.
type Maximum struct{ Got, Want *big.Rat }

// LocalizedString is the text of the error.
func (k *Maximum) LocalizedString(*message.Printer) string {
	return fmt.Sprintf("maximum: got %s, want %s", k.Got.RatString(), k.Want.RatString())
}

// AdditionalProperties: the object has properties that the schema lacks.
type AdditionalProperties struct{ Properties []string }

// LocalizedString is the text of the error.
func (k *AdditionalProperties) LocalizedString(*message.Printer) string {
	return "additional properties " + list(k.Properties) + " not allowed"
}

// Required: the object lacks properties.
type Required struct{ Missing []string }

// LocalizedString is the text of the error.
func (k *Required) LocalizedString(*message.Printer) string {
	if len(k.Missing) == 1 {
		return "missing property " + list(k.Missing)
	}
	return "missing properties " + list(k.Missing)
}

// Enum: the value is none of the list.
type Enum struct{ Want []any }

// LocalizedString is the text of the error.
func (k *Enum) LocalizedString(*message.Printer) string {
	words := make([]string, len(k.Want))
	for i, w := range k.Want {
		words[i] = show(w)
	}
	if len(words) == 1 {
		return "value must be " + words[0]
	}
	return "value must be one of " + strings.Join(words, ", ")
}

// Text is any other keyword's error.
type Text string

// LocalizedString is the text of the error.
func (k Text) LocalizedString(*message.Printer) string { return string(k) }

// Pattern: the string does not match.
func Pattern(got, want string) Text {
	return Text(show(got) + " does not match pattern " + show(want))
}

// Format: the string is not of that format.
func Format(got any, want string, err error) Text {
	return Text(fmt.Sprintf("%s is not valid %s: %v", show(got), want, err))
}

func show(v any) string {
	if s, ok := v.(string); ok {
		return "'" + strings.ReplaceAll(strings.Trim(strconv.Quote(s), `"`), `\"`, `"`) + "'"
	}
	return fmt.Sprint(v)
}

func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = show(w)
	}
	return strings.Join(quoted, ", ")
}
