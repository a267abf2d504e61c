// Package debs unpacks programs from Debian's packages into the user's cache folder, without installing them.
package debs
