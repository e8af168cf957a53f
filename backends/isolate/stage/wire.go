package stage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
)

// Most configurations go to a process of this same binary: field after field as
// they are declared: numbers as varints, what has a length behind it, nil as 0,
// and before each struct the number of its fields, so that another version of
// the binary is found out. encoding/json would look at every type that an OCI
// spec can be made of, Windows' and virtual machines' among them, in both
// processes: 2 ms of a start.

// encode appends v to b.
func encode(b []byte, v reflect.Value) ([]byte, error) {
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			return append(b, 1), nil
		}
		return append(b, 0), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return binary.AppendVarint(b, v.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return binary.AppendUvarint(b, v.Uint()), nil
	case reflect.String:
		return append(binary.AppendUvarint(b, uint64(v.Len())), v.String()...), nil
	case reflect.Struct:
		b = binary.AppendUvarint(b, uint64(v.NumField()))
		return encodeAll(b, v.NumField(), v.Field)
	case reflect.Pointer:
		if v.IsNil() {
			return append(b, 0), nil
		}
		return encode(append(b, 1), v.Elem())
	case reflect.Slice:
		if v.IsNil() {
			return append(b, 0), nil
		}
		b = binary.AppendUvarint(b, uint64(v.Len())+1)
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return append(b, v.Bytes()...), nil
		}
		return encodeAll(b, v.Len(), v.Index)
	case reflect.Map:
		return encodeMap(b, v)
	case reflect.Interface:
		if v.IsNil() {
			return append(b, 0), nil
		}
	}
	return nil, fmt.Errorf("a configuration cannot hold a %s", v.Type())
}

func encodeAll(b []byte, n int, at func(int) reflect.Value) (_ []byte, err error) {
	for i := 0; i < n && err == nil; i++ {
		b, err = encode(b, at(i))
	}
	return b, err
}

func encodeMap(b []byte, v reflect.Value) (_ []byte, err error) {
	if v.IsNil() {
		return append(b, 0), nil
	}
	b = binary.AppendUvarint(b, uint64(v.Len())+1)
	for i := v.MapRange(); i.Next() && err == nil; {
		if b, err = encode(b, i.Key()); err == nil {
			b, err = encode(b, i.Value())
		}
	}
	return b, err
}

// errWire: what came is not what encode makes of the same type.
var errWire = errors.New("configuration of another version of coracle")

// decode fills v, a settable zero value, and returns what follows it in b.
func decode(b []byte, v reflect.Value) ([]byte, error) {
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, size := binary.Varint(b)
		if size <= 0 || v.OverflowInt(n) {
			return nil, errWire
		}
		v.SetInt(n)
		return b[size:], nil
	case reflect.Struct:
		n, b, err := length(b, math.MaxUint16)
		if err != nil || n != v.NumField() {
			return nil, errWire
		}
		return decodeAll(b, n, v.Field)
	}
	// Everything else begins with a number that is not negative.
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return nil, errWire
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(n != 0)
		return b[size:], nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.OverflowUint(n) {
			return nil, errWire
		}
		v.SetUint(n)
		return b[size:], nil
	case reflect.String:
		return decodeString(b, v)
	}
	if n == 0 {
		return b[size:], nil // nil
	}
	return decodeMade(b, v)
}

// decodeMade decodes what is not nil, and is therefore made.
func decodeMade(b []byte, v reflect.Value) ([]byte, error) {
	// No element is shorter than a byte.
	n, b, err := length(b, uint64(len(b)))
	if err != nil {
		return nil, err
	}
	n--
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return decode(b, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return b[copy(v.Bytes(), b):], nil
		}
		return decodeAll(b, n, v.Index)
	case reflect.Map:
		v.Set(reflect.MakeMapWithSize(v.Type(), n))
		for ; n > 0; n-- {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			if b, err = decode(b, key); err != nil {
				return nil, err
			}
			if b, err = decode(b, elem); err != nil {
				return nil, err
			}
			v.SetMapIndex(key, elem)
		}
		return b, nil
	}
	return nil, errWire
}

func decodeAll(b []byte, n int, at func(int) reflect.Value) (_ []byte, err error) {
	for i := 0; i < n && err == nil; i++ {
		b, err = decode(b, at(i))
	}
	return b, err
}

func decodeString(b []byte, v reflect.Value) ([]byte, error) {
	n, b, err := length(b, uint64(len(b)))
	if err != nil || n > len(b) {
		return nil, errWire
	}
	v.SetString(string(b[:n]))
	return b[n:], nil
}

// length reads a number of at most most.
func length(b []byte, most uint64) (int, []byte, error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > most {
		return 0, nil, errWire
	}
	return int(n), b[size:], nil
}
